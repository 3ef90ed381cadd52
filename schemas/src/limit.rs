//! How much of anything is taken. Each limit stands here once, as several stages keep to it: what the ingress lets through, the
//! normalizer must be able to read, and what it makes of that, the topics must take.

/// The broker's limit for one record of any topic: a body at [`BODY_BYTES_MAX`], with room for headers.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest limit of a body that may be set.
pub const BODY_BYTES_MAX: usize = 15 * 1024 * 1024;
/// The largest value of an event: what the topics take, less room for key and headers.
pub const EVENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64 * 1024;
/// The most elements that an array of a body may have, and entries that an export may.
pub const ITEMS_MAX: usize = 100_000;
/// How deep JSON and XML may be nested.
pub const DEPTH_MAX: usize = 64;
/// How many attributes one XML element may have: each is compared with those before it.
pub const ATTRIBUTES_MAX: usize = 128;
/// How long one tag, text, comment or document type of a large upload may be; Apple's document type has some ten thousand bytes.
pub const TOKEN_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(BODY_BYTES_MAX < EVENT_BYTES_MAX, "a body of the largest size fits a record");
