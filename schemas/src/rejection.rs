//! The closed list of the reasons for which an item is refused, and what the sender or the operator can do about each.

use crate::codec::avro_enum;

avro_enum! {
    /// Why an item, or a whole payload, was refused.
    pub enum Reason {
        /// The body is not well-formed JSON or XML.
        Malformed = "malformed",
        /// The body is well-formed but does not have the shape of its format; the detail names the field and what it must be.
        UnexpectedShape = "unexpected-shape",
        /// The headers of the raw record are missing or invalid: the record was not written by the ingress.
        BrokenRecord = "broken-record",
        /// The format is documented, but this release does not read it yet; or the item has an element that this release does not
        /// read and that may reverse the meaning of the item (FHIR `modifierExtension`, `implicitRules`).
        FormatNotRead = "format-not-read",
        /// The payload contains nothing that could become a reading.
        Empty = "empty",
        /// One body has more than 100,000 items, one item has more than 1,000 parts, or the nesting is deeper than 64 levels.
        TooLarge = "too-large",
        /// The item does not name what was measured.
        TypeMissing = "type-missing",
        /// The item has a type that is not a reading (a characteristic such as the date of birth, another FHIR resource).
        NotAReading = "not-a-reading",
        /// The value is missing, and no reason for its absence is given.
        ValueMissing = "value-missing",
        /// The value does not fit its type (not a number, an unknown word).
        ValueInvalid = "value-invalid",
        /// The unit is missing, the metric allows several units, and no documented default applies.
        UnitMissing = "unit-missing",
        /// The unit is unknown, or is a unit of another kind of quantity than the metric.
        UnitInvalid = "unit-invalid",
        /// A time cannot be read.
        TimeInvalid = "time-invalid",
        /// A required part of the item is missing (FHIR `status`, `code`).
        Incomplete = "incomplete",
        /// An identifier is empty, is longer than 256 bytes or has control characters.
        IdentifierInvalid = "identifier-invalid",
        /// A document inside the payload is not valid base64.
        DocumentInvalid = "document-invalid",
        /// A large upload was never completed: its sender disconnected, or the ingress stopped, before the end.
        UploadIncomplete = "upload-incomplete",
        /// The body of a device command does not match the documentation, or its path has no `_id`; the detail lists all faults.
        CommandInvalid = "command-invalid",
        /// The database refuses the row (a character or a number that it cannot store).
        RowRefused = "row-refused",
        /// The mapping failed on the payload. This is a defect of this project, not of the payload.
        MappingFailed = "mapping-failed",
        /// An operator had a record skipped that a stage could not read.
        Skipped = "skipped",
    }
}

impl Reason {
    /// Returns what the sender or the operator can do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "Send well-formed JSON or XML in UTF-8.",
            Self::UnexpectedShape => {
                "Correct the field that the detail names, or send the payload with its own format. Without a format in the path, the \
                 Content-Type selects the format."
            }
            Self::BrokenRecord => "Write to the raw topics only through the ingress.",
            Self::FormatNotRead => {
                "Nothing is lost: the payload is stored and can be replayed when a release reads it."
            }
            Self::Empty => "Send at least one sample or resource.",
            Self::TooLarge => "Split the payload.",
            Self::TypeMissing => "Name the type on each sample, or for all samples with the query parameter type.",
            Self::NotAReading => "Send only measurements; store characteristics in the patient's record.",
            Self::ValueMissing => "Send a value, or give the reason for its absence in dataAbsentReason.",
            Self::ValueInvalid => "Send the value as documented for the type.",
            Self::UnitMissing => {
                "Name the unit on each sample, or for all samples with the query parameter unit; or declare the documented units that \
                 apply, with the query parameter defaults or on the API key."
            }
            Self::UnitInvalid => "Use one of the units that the catalogue lists for the metric.",
            Self::TimeInvalid => "Send times in the format of RFC 3339 with an offset.",
            Self::Incomplete => "Send the required elements of the resource.",
            Self::IdentifierInvalid => "Use identifiers of 1 to 256 bytes without control characters.",
            Self::DocumentInvalid => "Send the document as standard base64.",
            Self::UploadIncomplete => {
                "Send the upload again: an upload that was not answered with 200 was not accepted."
            }
            Self::CommandInvalid => {
                "Correct the members that the detail names; the API description documents the command."
            }
            Self::RowRefused => "Correct the value at the sender; the payload is stored and can be replayed.",
            Self::MappingFailed => {
                "Report it with the receipt. Nothing is lost: the payload is stored and can be replayed when the mapping is fixed."
            }
            Self::Skipped => "The record stays on its topic; the detail contains the reason that the operator gave.",
        }
    }
}
