//! XML bodies (XML 1.0, Namespaces in XML 1.0): checked and parsed in one pass into a tree that borrows from them. `read`
//! builds the tree, `tree` is the interface that the formats use.
//!
//! No type here has `Debug`: they hold health data.

mod namespace;
mod read;
mod tree;

pub(crate) use read::read;
pub(crate) use tree::Element;
