//! Why a body is not well-formed.

use schemas::limit::{ATTRIBUTES_MAX, DEPTH_MAX, ITEMS_MAX};

/// Why a body is malformed: not well-formed, or not of the shape of its format. Says where the fault is, but does not show
/// content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is empty.
    #[error("the body is empty")]
    Empty,
    /// The body cannot be decoded with the content coding in its header.
    #[error("the body does not match its Content-Encoding, or it is truncated")]
    Coding,
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The position of the first invalid byte.
        at: usize,
    },
    /// The JSON grammar (RFC 8259) is violated.
    #[error("the body is not well-formed JSON at byte {at}")]
    Json {
        /// The position of the fault in bytes.
        at: usize,
    },
    /// The XML grammar is violated, or an entity is used that XML does not predefine.
    #[error("the body is not well-formed XML near byte {at}")]
    Xml {
        /// The approximate position of the fault in bytes.
        at: u64,
    },
    /// The XML declares an encoding other than UTF-8 or its subset US-ASCII.
    #[error("the XML declares an encoding other than UTF-8")]
    XmlEncoding,
    /// The XML has a document type declaration, which is not accepted in this format or in this place.
    #[error("the XML has a document type declaration, which is not accepted here")]
    DocumentType,
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// The top-level array has too many elements.
    #[error("the array has more than {ITEMS_MAX} elements: split the payload")]
    TooManyItems,
    /// A token of a large upload is too long.
    #[error("a tag, a text or the document type is longer than 1 MiB")]
    TokenTooLong,
    /// An XML element has too many attributes.
    #[error("an XML element has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// The top level or one of its members has another type than the format requires.
    #[error("{} must be {expected}", member.unwrap_or("the top level of the body"))]
    WrongType {
        /// The member's name; `None` for the top level itself.
        member: Option<&'static str>,
        /// The type that the format requires.
        expected: &'static str,
    },
    /// A member that the format requires is missing.
    #[error("{member} is required and must be {expected}")]
    Missing {
        /// The member's name.
        member: &'static str,
        /// The type that the format requires.
        expected: &'static str,
    },
}
