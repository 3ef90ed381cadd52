//! Limits that several stages share. Each limit is defined once: the normalizer must be able to read what the ingress accepts, and
//! the topics must accept the events that the normalizer makes of it.

/// The broker's limit for one record of any topic: a body of [`BODY_BYTES_CEILING`], with room for headers.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest value that the limit for a body may be set to.
pub const BODY_BYTES_CEILING: usize = 15 * 1024 * 1024;
/// The largest value of an event: the limit of the topics minus room for the key and the headers.
pub const EVENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64 * 1024;
/// The largest number of elements in an array of a body, and of entries in an export.
pub const ITEMS_MAX: usize = 100_000;
/// The largest nesting depth of JSON and XML.
pub const DEPTH_MAX: usize = 64;
/// The largest number of attributes of one XML element. It is bounded because each attribute is compared with those before it.
pub const ATTRIBUTES_MAX: usize = 128;
/// The largest length of one tag, text, comment or document type in a large upload. Apple's document type has some ten thousand
/// bytes.
pub const TOKEN_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(BODY_BYTES_CEILING < EVENT_BYTES_MAX, "a body of the largest size fits a record");
