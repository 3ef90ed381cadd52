//! XML bodies (XML 1.0, Namespaces in XML 1.0): checked and read in one pass into a tree that borrows from them. `read`
//! builds it, `tree` is what the formats see of it.
//!
//! No type here has `Debug`: they hold health data.

mod namespace;
mod read;
mod tree;

pub(crate) use read::read;
pub(crate) use tree::Element;
