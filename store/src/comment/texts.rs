//! The texts.

use super::{
    Columns::{Listed, OfReadings},
    Meaning::{self, Field, Text, TopicCode},
    Relation,
    RelationKind::{Contract, Table, View},
};

type List = &'static [(&'static str, Meaning)];

/// All tables and views of this release.
pub const RELATIONS: &[Relation] = &[
    Relation {
        name: "attributed_readings",
        kind: Contract,
        text: "One row for each coded value: the parts of a panel, such as a blood pressure, share reading_id. Readings that were entered in error, cancelled or deleted are not here but in all_readings.",
        columns: Listed(&[CONTRACT]),
    },
    Relation {
        name: "all_readings",
        kind: Contract,
        text: "As attributed_readings, and also readings that were entered in error, cancelled or deleted: see the column status.",
        columns: Listed(&[CONTRACT]),
    },
    Relation {
        name: "document_contents",
        kind: Contract,
        text: "The documents that readings refer to by document_sha256.",
        columns: Listed(&[&[
            ("document_sha256", Field("Document", "sha256")),
            ("content_type", Field("Document", "content_type")),
            ("content", Field("Document", "content")),
            ("provider", Field("Document", "provider")),
            ("source", Field("Document", "source")),
            ("received_at", Field("Document", "received_at")),
        ]]),
    },
    Relation {
        name: "ledger",
        kind: View,
        text: "What the outcomes of a raw topic promise, and what is there. It balances when promised_readings is the sum of rows, superseded, duplicates and refused, and promised_rejections equals dead_letters.",
        columns: Listed(&[&[
            ("topic", Text("The raw topic.")),
            ("promised_readings", Text("Readings that the normalizer has said it made.")),
            ("rows", Text("Current readings.")),
            ("superseded", Text("Delivered items whose content is kept as an earlier version.")),
            ("duplicates", Text("Delivered items whose reading another item carries.")),
            ("refused", Text("Items that the sink refused.")),
            ("promised_rejections", Text("Items that the normalizer has said it refused.")),
            ("dead_letters", Text("Items of the normalizer's dead letters.")),
        ]]),
    },
    Relation {
        name: "readings",
        kind: Table,
        text: "The current version of each reading. What follows from other columns is not stored; the views give it.",
        columns: OfReadings,
    },
    Relation {
        name: "reading_versions",
        kind: Table,
        text: "Contents of readings that are not the current one. Empty for a reading that had one content only.",
        columns: OfReadings,
    },
    Relation {
        name: "reading_duplicates",
        kind: Table,
        text: "Delivered items whose reading another item carries.",
        columns: Listed(&[&[("reading_id", Field("Reading", "reading_id"))], POSITION, ITEM]),
    },
    Relation {
        name: "codings",
        kind: Table,
        text: "Codes that readings name by number.",
        columns: Listed(&[&[
            ("coding_id", Text("The number.")),
            ("hash", Text("Over system, code and display; makes the entry unique.")),
            ("system", Field("Coding", "system")),
            ("code", Field("Coding", "code")),
            ("display", Field("Coding", "display")),
        ]]),
    },
    Relation {
        name: "device_descriptions",
        kind: Table,
        text: "Devices as payloads describe them, which readings name by number. A device has one row for each description.",
        columns: Listed(&[&[
            ("description_id", Text("The number.")),
            ("hash", Text("Over the other columns; makes the entry unique.")),
            ("device_key", Field("Device", "key")),
            ("device_id", Field("Device", "id")),
            ("manufacturer", Field("Device", "manufacturer")),
            ("model", Field("Device", "model")),
            ("serial", Field("Device", "serial")),
        ]]),
    },
    Relation {
        name: "devices",
        kind: Table,
        text: "Devices that a command has assigned, as the command appended last describes them.",
        columns: Listed(&[&[("device_key", Field("Assignment", "device_key"))], DEVICE]),
    },
    Relation {
        name: "device_commands",
        kind: Table,
        text: "Every accepted device command, and its verdict.",
        columns: Listed(&[
            RAW,
            &[("device_key", Field("Assignment", "device_key")), ("command", Field("Assignment", "command"))],
            DEVICE,
            &[
                ("patient_id", Field("Assignment", "patient")),
                ("effective_from", Field("Assignment", "effective_from")),
                ("received_at", Field("Assignment", "received_at")),
                ("source", Field("Assignment", "source")),
                ("subject", Field("Assignment", "subject")),
                (
                    "bound_to",
                    Text(
                        "The providers whose devices the credential may command; null where it may command those of any.",
                    ),
                ),
                ("mapping_version", Field("Assignment", "mapping_version")),
                ("key_id", Field("Assignment", "key_id")),
                (
                    "verdict",
                    Text(
                        "What became of the command: applied; superseded by a later one with the same effective time; unchanged, because it changes nothing; held-by-another, because a patient commanded over a device that somebody else holds; unknown-device, because no command has assigned the device so far; forbidden, because the credential is bound to other providers.",
                    ),
                ),
            ],
        ]),
    },
    Relation {
        name: "excess_commands",
        kind: Table,
        text: "Runs of device commands beyond what a source may say of a device on one day. They take no part in the attribution.",
        columns: Listed(&[RUN]),
    },
    Relation {
        name: "device_assignments",
        kind: Table,
        text: "Who holds a device and when. Derived from device_commands; never edited.",
        columns: Listed(&[&[
            ("device_key", Field("Assignment", "device_key")),
            ("patient_id", Text("The patient who holds the device.")),
            ("during", Text("From when, inclusive, until when, exclusive. Without an upper bound it goes on.")),
        ]]),
    },
    Relation {
        name: "documents",
        kind: Table,
        text: "Documents that came inside of payloads, each once.",
        columns: Listed(&[&[
            ("sha256", Field("Document", "sha256")),
            ("content_type", Field("Document", "content_type")),
            ("content", Field("Document", "content")),
            ("provider", Field("Document", "provider")),
            ("source", Field("Document", "source")),
            ("received_at", Field("Document", "received_at")),
            ("key_id", Field("Document", "key_id")),
        ]]),
    },
    Relation {
        name: "outcomes",
        kind: Table,
        text: "What became of raw records: one row for each run of records with the same outcome.",
        columns: Listed(&[
            &[("topic", Field("Outcome", "topic"))],
            RUN,
            &[
                ("items", Text("How many items each payload of the run held.")),
                ("readings", Text("How many readings were made of each.")),
                ("commands", Text("How many device commands were made of each.")),
                ("rejections", Text("How many items of each were refused.")),
                ("mapping_version", Field("Outcome", "mapping_version")),
            ],
        ]),
    },
    Relation {
        name: "dead_letters",
        kind: Table,
        text: "Refused items, without payload: that is on the topic dead-letters and on the raw topic.",
        columns: Listed(&[&[
            ("origin_topic", Text("The topic of the record that was refused, wholly or in part.")),
            ("origin_partition", Text("Its partition.")),
            ("origin_offset", Text("Its offset.")),
            ("item", Text("The first item that was refused; -1 for the whole payload.")),
            ("item_count", Text("How many items in a row.")),
            ("stage", Text("The stage that refused: normalizer or sink.")),
            ("reason", Text("Why; docs/rejections.md lists the reasons.")),
            ("detail", Text("What exactly, without health data.")),
            ("content_hmac", Text("The keyed hash of the payload, lower-case hexadecimal.")),
            ("raw_topic", Text("The raw topic of the payload, where it is known.")),
            ("topic_epoch", Text("The incarnation of the raw topic; -1 where it is not known.")),
            ("raw_partition", Text("The raw topic's partition.")),
            ("raw_offset", Text("The raw record's offset.")),
            ("origin_at", Text("When the broker appended the record that was refused.")),
            ("letter_partition", Text("The partition of the dead letter on its topic.")),
            ("letter_offset", Text("Its offset there.")),
        ]]),
    },
    Relation {
        name: "drift",
        kind: Table,
        text: "What payloads held that the mapping does not know, one row for each shape: names and types, never values.",
        columns: Listed(&[
            &[
                ("fingerprint", Text("The shape's short name.")),
                ("provider", Text("Who sent it.")),
                ("format", Field("Unknown", "format")),
                ("kind", Field("Unknown", "kind")),
                ("shape", Field("Unknown", "shape")),
                ("first_seen", Text("When the raw record of the first example was received.")),
                ("last_seen", Text("When the raw record of the last example was received.")),
                ("count", Text("How many raw records had it.")),
            ],
            POSITION,
        ]),
    },
    Relation {
        name: "sink_offsets",
        kind: Table,
        text: "Where the sinks go on reading; moved in the transaction of each batch.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("Its partition.")),
            ("next_offset", Text("The next record to be read.")),
        ]]),
    },
    Relation {
        name: "skips",
        kind: Table,
        text: "Records of event topics that an operator has asked the sinks to step over.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("Its partition.")),
            ("log_offset", Text("The record's offset.")),
            ("reason", Text("Why, in the operator's words.")),
            ("requested_at", Text("When it was asked for.")),
            ("done_at", Text("When a sink did it; null until then.")),
        ]]),
    },
    Relation {
        name: "accepted_gaps",
        kind: Table,
        text: "Events whose retention ended before a sink read them, which an operator has accepted.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("Its partition.")),
            ("from_offset", Text("The first record that is gone.")),
            ("to_offset", Text("The first record that is there.")),
            ("accepted_at", Text("When it was accepted.")),
        ]]),
    },
    Relation {
        name: "schema_version",
        kind: Table,
        text: "Which release's tables these are; one row.",
        columns: Listed(&[&[
            ("version", Text("The number of the last migration.")),
            ("compatible_from", Text("The least version that a sink must know to write here.")),
        ]]),
    },
    Relation {
        name: "_sqlx_migrations",
        kind: Table,
        text: "The migrations that were applied; kept by the library that applies them.",
        columns: Listed(&[&[
            ("version", Text("The migration's number.")),
            ("description", Text("Its name.")),
            ("installed_on", Text("When it was applied.")),
            ("success", Text("Whether it was applied wholly.")),
            ("checksum", Text("Of its text.")),
            ("execution_time", Text("How long it took, nanoseconds.")),
        ]]),
    },
];

const CONTRACT: List = &[
    ("reading_id", Field("Reading", "reading_id")),
    ("component", Text("The part of a panel, from 1; 0 for a value of the reading itself.")),
    ("patient_id", Text("The patient whom the value belongs to; null where attribution says why nobody is known.")),
    (
        "attribution",
        Text(
            "How the patient is known: subject (the request authenticated the patient) or assignment (the patient held the device when it measured). Else why not: no device, no time, never assigned, unassigned at that time, time spans holders (an imprecise time within which two patients held the device).",
        ),
    ),
    ("patient_claim", Field("Reading", "patient_claim")),
    (
        "claim_conflict",
        Text(
            "Whether patient_claim names somebody else than patient_id. A FHIR reference is compared by what stands behind Patient/.",
        ),
    ),
    ("provider", Field("Reading", "provider")),
    (
        "device_id",
        Text("The identifier of the device that measured, as its provider writes it; null where none is named."),
    ),
    ("gateway_id", Text("The identifier of the hub that passed the reading on; null where there is none.")),
    ("source", Field("Reading", "source")),
    (
        "code_system",
        Text(
            "The URI of the code system of code: http://loinc.org where a LOINC code exists, else the source's own system.",
        ),
    ),
    ("code", Text("What was observed.")),
    ("display", Text("The text of code.")),
    ("panel_code", Text("The code of the panel that the value is a part of; null for a value of the reading itself.")),
    (
        "value_num",
        Text(
            "The number in unit. Null where there is a comparator: the number is a bound then, and stands in bound_num.",
        ),
    ),
    ("comparator", Field("Quantity", "comparator")),
    (
        "bound_num",
        Text("The bound in unit where there is a comparator: the value is less than it, greater than it, and so on."),
    ),
    ("value_text", Text("The value where it is a text, the text of a coded value, or true or false.")),
    ("value_code_system", Text("The URI of the code system of value_code.")),
    ("value_code", Text("The value where it is a code.")),
    ("absent_reason", Text("Why there is no value (FHIR R4 DataAbsentReason); null where there is one.")),
    (
        "unit",
        Text(
            "The UCUM unit of value_num, bound_num or the samples; 1 for a number without a dimension. With the flag unknown-metric or unknown-unit it is the source's unit.",
        ),
    ),
    ("source_value", Field("Quantity", "source_value")),
    ("source_unit", Field("Quantity", "source_unit")),
    ("sample_period_ms", Field("Waveform", "period_ms")),
    ("sample_origin", Field("Waveform", "origin")),
    ("sample_factor", Field("Waveform", "factor")),
    ("sample_dimensions", Field("Waveform", "dimensions")),
    ("samples", Field("Waveform", "samples")),
    ("document_sha256", Text("SHA-256 of a document's bytes, lower-case hexadecimal: the key in document_contents.")),
    ("document_type", Field("DocumentReference", "content_type")),
    ("document_title", Field("DocumentReference", "title")),
    (
        "measured_from",
        Text(
            "When the measurement began; the start of the span where time_precision is coarser than a second. Null where the source gives no time.",
        ),
    ),
    ("measured_until", Field("Reading", "measured_until")),
    ("time_precision", Field("Reading", "time_precision")),
    ("status", Field("Reading", "status")),
    (
        "flags",
        Text("What a reader should know about how the value was derived; docs/flags.md says what to do about each."),
    ),
    ("received_at", Text("When the broker appended the raw record.")),
    ("mapping_version", Field("Provenance", "mapping_version")),
    ("receipt", Text("The receipt of the payload, for device-manager trace.")),
];

const POSITION: List = &[
    ("topic_code", TopicCode),
    ("topic_epoch", Field("Provenance", "topic_epoch")),
    ("raw_partition", Field("Provenance", "partition")),
    ("raw_offset", Field("Provenance", "offset")),
];

const RAW: List = &[
    ("topic_epoch", Field("Assignment", "topic_epoch")),
    ("raw_partition", Field("Assignment", "partition")),
    ("raw_offset", Field("Assignment", "offset")),
];

const RUN: List = &[
    ("topic_epoch", Text("The incarnation of the raw topic.")),
    ("raw_partition", Text("The raw topic's partition.")),
    ("first_offset", Text("The first record of the run.")),
    ("last_offset", Text("The last record of the run.")),
];

const ITEM: List = &[("item", Field("Provenance", "item"))];

const DEVICE: List = &[
    ("provider", Field("Assignment", "provider")),
    ("device_id", Field("Assignment", "device_id")),
    ("device_type", Field("Assignment", "device_type")),
    ("name", Field("Assignment", "name")),
    ("serial_number", Field("Assignment", "serial_number")),
    ("features", Field("Assignment", "features")),
];
