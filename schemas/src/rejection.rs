//! The closed list of reasons for which an item is refused, and what its sender can do about each.

use crate::codec::avro_enum;

avro_enum! {
    /// Why an item, or a whole payload, was refused.
    pub enum Reason {
        /// The body is not well-formed JSON or XML.
        Malformed = "malformed",
        /// The body is well-formed, but not of the shape of its format; the detail names the field and what it must be.
        UnexpectedShape = "unexpected-shape",
        /// The raw record's headers are missing or broken: it was not put there by the ingress.
        BrokenRecord = "broken-record",
        /// The format is documented, but this release does not read it yet; or not an element that may turn the meaning of an
        /// item into its opposite (FHIR `modifierExtension`, `implicitRules`).
        FormatNotRead = "format-not-read",
        /// The payload holds nothing that could become a reading.
        Empty = "empty",
        /// More than 100,000 items in one body, more than 1,000 parts in one item, or deeper than 64 levels.
        TooLarge = "too-large",
        /// The item does not say what was measured.
        TypeMissing = "type-missing",
        /// The item is of a type that is no reading (a characteristic such as the birth date, another FHIR resource).
        NotAReading = "not-a-reading",
        /// The value is missing and no reason for that is given.
        ValueMissing = "value-missing",
        /// The value is not what its type must have (not a number, an unknown word).
        ValueInvalid = "value-invalid",
        /// The unit is missing, the metric allows several, and no documented default holds.
        UnitMissing = "unit-missing",
        /// The unit is unknown or measures something else than the metric.
        UnitInvalid = "unit-invalid",
        /// A time cannot be read.
        TimeInvalid = "time-invalid",
        /// A required part of the item is missing (FHIR `status`, `code`).
        Incomplete = "incomplete",
        /// An identifier is empty, longer than 256 bytes or has control characters.
        IdentifierInvalid = "identifier-invalid",
        /// A document inside the payload is not valid base64.
        DocumentInvalid = "document-invalid",
        /// A large upload was never closed: its sender, or the ingress, went away in the middle.
        UploadIncomplete = "upload-incomplete",
        /// The body of a device command is not as documented, or its path has no `_id`; the detail lists all faults.
        CommandInvalid = "command-invalid",
        /// The database refuses the row (a character it cannot store, a number it cannot hold).
        RowRefused = "row-refused",
        /// Our mapping broke down on the payload: a defect of this project, not of the payload.
        MappingFailed = "mapping-failed",
        /// An operator stepped over a record that a stage could not read.
        Skipped = "skipped",
    }
}

impl Reason {
    /// What the sender, or the operator, can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Malformed => "Send well-formed JSON or XML in UTF-8.",
            Self::UnexpectedShape => {
                "Correct the field that the detail names, or send the payload under its own format: without a format in the path, \
                 the Content-Type decides."
            }
            Self::BrokenRecord => "Write to the raw topics only through the ingress.",
            Self::FormatNotRead => {
                "Nothing is lost: the payload is kept and can be replayed once a release reads the format."
            }
            Self::Empty => "Send at least one sample or resource.",
            Self::TooLarge => "Split the payload.",
            Self::TypeMissing => "Name the type on each sample, or once for all as the query parameter type.",
            Self::NotAReading => "Send only measurements; keep characteristics in the patient's record.",
            Self::ValueMissing => "Send a value, or say with dataAbsentReason why there is none.",
            Self::ValueInvalid => "Send the value as the type's documentation says.",
            Self::UnitMissing => {
                "Name the unit on each sample, or once for all as the query parameter unit; or declare with the query parameter \
                 defaults, or on the key, whose documented units hold."
            }
            Self::UnitInvalid => "Use one of the metric's units listed in the catalogue.",
            Self::TimeInvalid => "Send times as RFC 3339 with an offset.",
            Self::Incomplete => "Send the resource's required elements.",
            Self::IdentifierInvalid => "Use identifiers of 1 to 256 bytes without control characters.",
            Self::DocumentInvalid => "Send the document as standard base64.",
            Self::UploadIncomplete => "Send the upload again; what was not answered 200 was not taken.",
            Self::CommandInvalid => "Correct the members that the detail names; the API documents the command.",
            Self::RowRefused => "Correct the value at the sender; the payload is kept and can be replayed.",
            Self::MappingFailed => {
                "Report it with the receipt. Nothing is lost: the payload is kept and can be replayed once the mapping is mended."
            }
            Self::Skipped => "The record stays on its topic; the table skips says who stepped over it and why.",
        }
    }
}
