//! Avro single-object encoding: `C3 01`, the fingerprint in little-endian order, the datum
//! (Apache Avro 1.12 specification, "Single-object encoding").

use super::{
    datum::{Datum, DecodeError, Input},
    schema::{Event, Fingerprint},
};

const MARKER: [u8; 2] = [0xc3, 0x01];

/// Why a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The message does not begin with the single-object marker and a fingerprint.
    #[error("the message is not in Avro single-object encoding")]
    NotSingleObject,
    /// The message was written with another schema. The caller looks up its text by this fingerprint and resolves it.
    #[error("the message was written with the schema {0}")]
    OtherSchema(Fingerprint),
    /// The datum is broken.
    #[error(transparent)]
    Datum(#[from] DecodeError),
}

/// Encodes an event with the schema of this release.
#[must_use]
pub fn encode<E: Event>(event: &E) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&E::FINGERPRINT.0);
    event.write(&mut out);
    out
}

/// Splits a message into its fingerprint and its datum.
///
/// # Errors
/// [`ReadError::NotSingleObject`] when the message does not begin with the marker and a fingerprint.
pub fn fingerprint_of(message: &[u8]) -> Result<(Fingerprint, &[u8]), ReadError> {
    let rest = message.strip_prefix(&MARKER).ok_or(ReadError::NotSingleObject)?;
    let (fingerprint, datum) = rest.split_first_chunk::<8>().ok_or(ReadError::NotSingleObject)?;
    Ok((Fingerprint(*fingerprint), datum))
}

/// Decodes an event that was written with the schema of this release.
///
/// # Errors
/// [`ReadError`]; [`ReadError::OtherSchema`] means that [`super::SchemaCache`] must resolve the message.
pub fn decode<E: Event>(message: &[u8]) -> Result<E, ReadError> {
    let (fingerprint, datum) = fingerprint_of(message)?;
    if fingerprint != E::FINGERPRINT {
        return Err(ReadError::OtherSchema(fingerprint));
    }
    Ok(read_datum(datum)?)
}

pub(super) fn read_datum<E: Datum>(datum: &[u8]) -> Result<E, DecodeError> {
    let mut input = Input::new(datum);
    let event = E::read(&mut input)?;
    input.finish()?;
    Ok(event)
}
