//! Why a body is not well-formed.

use schemas::limit::{ATTRIBUTES_MAX, DEPTH_MAX, ITEMS_MAX};

/// Why a body is not well-formed, or not of the shape of its format. Says where, never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing was sent.
    #[error("the body is empty")]
    Empty,
    /// The content coding named in the header cannot be undone.
    #[error("the body is not what its Content-Encoding says, or it is cut off")]
    Coding,
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The first byte that does not belong.
        at: usize,
    },
    /// The JSON grammar (RFC 8259) is broken.
    #[error("the body is not well-formed JSON at byte {at}")]
    Json {
        /// Where.
        at: usize,
    },
    /// The XML grammar is broken, or an entity is used that XML does not define.
    #[error("the body is not well-formed XML near byte {at}")]
    Xml {
        /// Where.
        at: u64,
    },
    /// The XML declares another encoding than UTF-8.
    #[error("the XML declares an encoding other than UTF-8")]
    XmlEncoding,
    /// The XML has a document type declaration, which is never read.
    #[error("the XML has a document type declaration, which is not accepted here")]
    DocumentType,
    /// Nested too deeply.
    #[error("the body is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Too many elements in the top-level array.
    #[error("the array has more than {ITEMS_MAX} elements: split the payload")]
    TooManyItems,
    /// A tag or a text of a large upload is too long.
    #[error("a tag, a text or the document type is longer than 1 MiB")]
    TokenTooLong,
    /// Too many attributes on one XML element.
    #[error("an XML element has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// Something at the top level is well-formed, but of another type than the format gives to it.
    #[error("{} must be {expected}", member.unwrap_or("the top level of the body"))]
    WrongType {
        /// The member's name; none for the top level itself.
        member: Option<&'static str>,
        /// What the format has there.
        expected: &'static str,
    },
    /// The body lacks something without which its format cannot be read.
    #[error("{member} is missing and must be {expected}")]
    Missing {
        /// Its name.
        member: &'static str,
        /// What the format has there.
        expected: &'static str,
    },
}
