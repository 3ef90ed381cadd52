//! The texts of the comments.

use super::{
    Columns::{Listed, OfReadings, ReplacedReadings},
    CommentSource::{self, Field, Text, TopicCode},
    Relation,
    RelationKind::{Contract, Table, View},
};

type List = &'static [(&'static str, CommentSource)];

/// All tables and views of this release.
pub const RELATIONS: &[Relation] = &[
    Relation {
        name: "attributed_readings",
        kind: Contract,
        text: "One row for each coded value: the parts of a panel, such as a blood pressure, share reading_id. Readings that were entered in error, cancelled, deleted or withdrawn are only in all_readings.",
        columns: Listed(&[CONTRACT]),
    },
    Relation {
        name: "all_readings",
        kind: Contract,
        text: "The rows of attributed_readings, those of readings that were entered in error, cancelled or deleted (see the column status), and those of withdrawn readings.",
        columns: Listed(&[
            CONTRACT,
            &[("withdrawn", Text("Whether a replay withdrew the reading: no payload yields it any more."))],
        ]),
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
        text: "For each raw topic, the numbers in the outcomes compared with the rows that exist. The ledger balances when promised_readings is the sum of rows, superseded, duplicates and refused, and promised_rejections equals dead_letters.",
        columns: Listed(&[&[
            ("topic", Text("The raw topic.")),
            ("promised_readings", Text("The number of readings that the normalizer made, from the outcomes.")),
            ("rows", Text("The number of current readings.")),
            ("superseded", Text("The number of delivered items whose content is stored as an earlier version.")),
            ("duplicates", Text("The number of delivered items whose reading is stored from another item.")),
            ("refused", Text("The number of items that the sink refused.")),
            ("promised_rejections", Text("The number of items that the normalizer refused, from the outcomes.")),
            ("dead_letters", Text("The number of items in the dead letters of the normalizer.")),
        ]]),
    },
    Relation {
        name: "readings",
        kind: Table,
        text: "The current version of each reading. A value that can be derived from other columns is not stored; the views return it.",
        columns: OfReadings,
    },
    Relation {
        name: "reading_versions",
        kind: Table,
        text: "Versions of readings with a content that is not the current one. A reading that had only one content has no row here.",
        columns: OfReadings,
    },
    Relation {
        name: "reading_history",
        kind: Table,
        text: "Rows of readings that were replaced or withdrawn, for the function readings_as_of.",
        columns: ReplacedReadings,
    },
    Relation {
        name: "reading_duplicates",
        kind: Table,
        text: "Delivered items whose reading is stored from another item, and those that a replay withdrew.",
        columns: Listed(&[
            &[("reading_id", Field("Reading", "reading_id"))],
            POSITION,
            ITEM,
            &[
                (
                    "withdrawn_mapping",
                    Text("The mapping version of the replay that withdrew the delivery; null when it counts."),
                ),
                ("withdrawn_catalogue", Text("The catalogue revision of that replay.")),
                ("withdrawn_replay", Text("That replay, a row of replays.")),
            ],
        ]),
    },
    Relation {
        name: "codings",
        kind: Table,
        text: "Codes, to which readings refer by number.",
        columns: Listed(&[&[
            ("coding_id", Text("The number.")),
            ("hash", Text("The hash over system, code and display, by which the entry is unique.")),
            ("system", Field("Coding", "system")),
            ("code", Field("Coding", "code")),
            ("display", Field("Coding", "display")),
        ]]),
    },
    Relation {
        name: "device_descriptions",
        kind: Table,
        text: "Devices as payloads describe them, to which readings refer by number. A device has one row for each description.",
        columns: Listed(&[&[
            ("description_id", Text("The number.")),
            ("hash", Text("The hash over the other columns, by which the entry is unique.")),
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
        text: "Devices that a command has assigned, with the description from the command that was appended last.",
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
                        "The providers for whose devices the credential may send commands; null when it may do so for all providers.",
                    ),
                ),
                ("mapping_version", Field("Assignment", "mapping_version")),
                ("key_id", Field("Assignment", "key_id")),
                (
                    "verdict",
                    Text(
                        "The result of the command: applied; superseded by a later command with the same effective time; unchanged, because it changes nothing; held-by-another, because a patient sent a command for a device that somebody else holds; unknown-device, because no command has assigned the device so far; forbidden, because the credential is bound to other providers.",
                    ),
                ),
            ],
        ]),
    },
    Relation {
        name: "excess_commands",
        kind: Table,
        text: "Runs of device commands above the number that a source may send about a device on one day. They are not used for attribution.",
        columns: Listed(&[RUN]),
    },
    Relation {
        name: "device_assignments",
        kind: Table,
        text: "The patients who hold a device, with the time ranges. Computed from device_commands; never edited.",
        columns: Listed(&[&[
            ("device_key", Field("Assignment", "device_key")),
            ("patient_id", Text("The patient who holds the device.")),
            (
                "during",
                Text(
                    "The time range, with an inclusive start and an exclusive end. Without an upper bound the assignment has not ended.",
                ),
            ),
            STORED_AT,
        ]]),
    },
    Relation {
        name: "assignment_history",
        kind: Table,
        text: "Rows of device_assignments that were replaced, for the function readings_as_of.",
        columns: Listed(&[&[
            ("device_key", Field("Assignment", "device_key")),
            ("patient_id", Text("The patient who held the device.")),
            ("during", Text("The time range, with an inclusive start and an exclusive end.")),
            STORED_AT,
            REPLACED_AT,
        ]]),
    },
    Relation {
        name: "documents",
        kind: Table,
        text: "Documents that payloads contained, each stored once.",
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
        text: "The outcomes of raw records: one row for each run of consecutive records with the same outcome.",
        columns: Listed(&[
            &[("topic", Field("Outcome", "topic"))],
            RUN,
            &[
                ("items", Text("The number of items in each payload of the run.")),
                ("readings", Text("The number of readings made from each payload.")),
                ("commands", Text("The number of device commands made from each payload.")),
                ("rejections", Text("The number of items of each payload that were refused.")),
                ("mapping_version", Field("Outcome", "mapping_version")),
                ("catalogue_revision", Field("Outcome", "catalogue_revision")),
                (
                    "replay",
                    Text("The replay that published the outcomes, a row of replays; 0 when it was the normalizer."),
                ),
            ],
        ]),
    },
    Relation {
        name: "replays",
        kind: Table,
        text: "Replays of raw topics. A replay compares what the current mapping makes of raw records with what is stored, and is then applied.",
        columns: Listed(&[&[
            ("replay_id", Text("The number of the replay.")),
            (
                "kind",
                Text(
                    "compare: the replay compares the records of its scope. redrive: it maps the records of dead letters again.",
                ),
            ),
            ("scope", Text("Which raw records the replay covers.")),
            ("mapping_version", Text("The version of the mapping of the replay.")),
            ("catalogue_revision", Text("The revision of the installation's own catalogue; 0 without one.")),
            ("catalogue_sha256", Text("The SHA-256 of the catalogue file; null without one.")),
            ("state", Text("comparing, compared, applying, applied or aborted.")),
            ("operator", Text("Who started the replay.")),
            ("created_at", Text("When the replay was started.")),
            ("changed_at", Text("When the state changed.")),
        ]]),
    },
    Relation {
        name: "replay_ranges",
        kind: Table,
        text: "The ranges of raw records that a replay reads, and how far it has read them.",
        columns: Listed(&[&[
            ("replay_id", Text("The replay.")),
            (
                "pass",
                Text(
                    "What the records are read for: compare, find (which other records yield missing readings) or apply.",
                ),
            ),
            ("topic", Text("The raw topic.")),
            ("topic_epoch", Text("The epoch of the raw topic.")),
            ("raw_partition", Text("The partition.")),
            ("first_offset", Text("The first offset.")),
            ("end_offset", Text("The offset after the last one.")),
            ("next_offset", Text("The offset of the next record to read.")),
            ("counts", Text("What was counted in the records read so far.")),
        ]]),
    },
    Relation {
        name: "replay_changes",
        kind: Table,
        text: "What a replay found to be different. Applying the replay makes these changes and no others.",
        columns: Listed(&[&[
            ("replay_id", Text("The replay.")),
            ("topic", Text("The raw topic.")),
            ("topic_epoch", Text("The epoch of the raw topic.")),
            ("raw_partition", Text("The partition.")),
            ("raw_offset", Text("The offset of the raw record.")),
            ("item", Text("The item of the raw record; -1 for the record as a whole.")),
            (
                "kind",
                Text(
                    "added: the reading is not stored. changed: it is stored with other fields. missing: the item no longer yields it. withdrawn: no record yields it any more. moved: another record yields it now. command: a device command is stored with other fields. record: only the outcome of the record differs.",
                ),
            ),
            ("subject_id", Text("The reading or the device; nil for the record as a whole.")),
            ("fields", Text("The fields that differ.")),
            ("code_system", Text("The system of the code.")),
            ("code", Text("What was observed.")),
            ("display", Text("The display text of the code.")),
            ("device_id", Text("The device's identifier at its provider.")),
            ("before", Text("A hash over the stored reading when it was compared; null when none was stored.")),
        ]]),
    },
    Relation {
        name: "accounted",
        kind: Table,
        text: "How far the sinks have compared what outcomes promise with what is stored.",
        columns: Listed(&[&[
            ("topic", Text("The raw topic.")),
            ("topic_epoch", Text("The epoch of the raw topic.")),
            ("raw_partition", Text("The partition.")),
            ("next_offset", Text("The first offset that is not compared yet; 0 has everything compared again.")),
        ]]),
    },
    Relation {
        name: "audit",
        kind: Table,
        text: "Who looked at identified data with an operator's command.",
        columns: Listed(&[&[
            ("audit_id", Text("The number of the entry.")),
            ("at", Text("When the command ran.")),
            ("operator", Text("Who ran it: the user of the operating system, or the value of --operator.")),
            ("command", Text("The command.")),
            ("detail", Text("What it was asked for.")),
        ]]),
    },
    Relation {
        name: "dead_letters",
        kind: Table,
        text: "Refused items without their payload, which is on the topic dead-letters and on the raw topic.",
        columns: Listed(&[&[
            ("origin_topic", Text("The topic of the record of which all or a part was refused.")),
            ("origin_partition", Text("The partition of that record.")),
            ("origin_offset", Text("The offset of that record.")),
            ("item", Text("The first item that was refused; -1 for the whole payload.")),
            ("item_count", Text("The number of consecutive items that were refused.")),
            ("stage", Text("The stage that refused the items: normalizer or sink.")),
            ("reason", Text("Why the items were refused; docs/rejections.md lists the reasons.")),
            ("detail", Text("What exactly is wrong, without health data.")),
            ("content_hmac", Text("The keyed hash of the payload, lower-case hexadecimal.")),
            ("raw_topic", Text("The raw topic of the payload; null when it is not known.")),
            ("topic_epoch", Text("The epoch of the raw topic; -1 when it is not known.")),
            ("raw_partition", Text("The partition of the raw record.")),
            ("raw_offset", Text("The offset of the raw record.")),
            ("origin_at", Text("When the broker appended the refused record.")),
            ("letter_partition", Text("The partition of the dead letter on its topic.")),
            ("letter_offset", Text("The offset of the dead letter on its topic.")),
            (
                "receipt",
                Text("The receipt of the payload, as input for device-manager trace; null when it is not known."),
            ),
            (
                "device_key",
                Text("The device that the items name, as the UUID of device commands; null when they name none."),
            ),
            ("source", Text("The stable source name of the credential that sent the payload.")),
            ("credential", Text("The id of the credential.")),
            ("correlation_id", Text("The correlation id of the request.")),
            ("format", Text("The format of the payload.")),
            ("provider", Text("The provider that sent the payload.")),
            ("attempts", Text("How often the items were refused.")),
            ("first_attempt_at", Text("When the items were refused first.")),
            ("last_attempt_at", Text("When the items were refused last.")),
            (
                "replay",
                Text("The replay of the last attempt, a row of replays; 0 when it was the normalizer or the sink."),
            ),
            (
                "state",
                Text(
                    "open; redriven, when an operator has the items mapped again; resolved, when they are accepted now; discarded by an operator.",
                ),
            ),
            ("state_at", Text("When the state changed.")),
            ("state_by", Text("The operator who changed the state; null when it was the sink.")),
            ("state_reason", Text("Why an operator discarded the dead letter.")),
        ]]),
    },
    Relation {
        name: "drift",
        kind: Table,
        text: "What payloads contained that the mapping does not know: one row for each shape, with names and types, never values.",
        columns: Listed(&[
            &[
                ("fingerprint", Text("The short name of the shape.")),
                ("provider", Text("The provider that sent the payloads.")),
                ("format", Field("Unknown", "format")),
                ("kind", Field("Unknown", "kind")),
                ("shape", Field("Unknown", "shape")),
                ("first_seen", Text("When the first raw record with the shape was received.")),
                ("last_seen", Text("When the last raw record with the shape was received.")),
                ("count", Text("The number of raw records with the shape.")),
            ],
            POSITION,
        ]),
    },
    Relation {
        name: "sink_offsets",
        kind: Table,
        text: "The offsets from which the sinks continue reading; updated in the transaction of each batch.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("The partition.")),
            ("next_offset", Text("The offset of the next record to be read.")),
        ]]),
    },
    Relation {
        name: "write_locks",
        kind: Table,
        text: "Rows that sinks lock, so that only one at a time changes the outcomes or the dead letters of a raw partition.",
        columns: Listed(&[&[
            ("kind", Text("What is locked: outcomes or dead-letters.")),
            ("topic", Text("The raw topic.")),
            ("topic_epoch", Text("The epoch of the raw topic.")),
            ("raw_partition", Text("The partition of the raw topic.")),
        ]]),
    },
    Relation {
        name: "skips",
        kind: Table,
        text: "Records of event topics that an operator has asked the sinks to skip.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("The partition.")),
            ("log_offset", Text("The record's offset.")),
            ("reason", Text("The reason that the operator gave.")),
            ("requested_at", Text("When the operator asked for the skip.")),
            ("done_at", Text("When a sink skipped the record; null until then.")),
        ]]),
    },
    Relation {
        name: "accepted_gaps",
        kind: Table,
        text: "Gaps that an operator has accepted: events whose retention ended before a sink read them.",
        columns: Listed(&[&[
            ("topic", Text("The event topic.")),
            ("partition", Text("The partition.")),
            ("from_offset", Text("The offset of the first missing record.")),
            ("to_offset", Text("The offset of the first record after the gap.")),
            ("accepted_at", Text("When the operator accepted the gap.")),
        ]]),
    },
    Relation {
        name: "schema_version",
        kind: Table,
        text: "The version of the tables; one row.",
        columns: Listed(&[&[
            ("version", Text("The number of the last migration.")),
            ("compatible_from", Text("The lowest schema version that a sink must know to write to these tables.")),
        ]]),
    },
    Relation {
        name: "_sqlx_migrations",
        kind: Table,
        text: "The migrations that were applied; maintained by the library that applies them.",
        columns: Listed(&[&[
            ("version", Text("The number of the migration.")),
            ("description", Text("The name of the migration.")),
            ("installed_on", Text("When the migration was applied.")),
            ("success", Text("Whether the migration was applied completely.")),
            ("checksum", Text("The checksum of the text of the migration.")),
            ("execution_time", Text("The duration of the migration, nanoseconds.")),
        ]]),
    },
];

const CONTRACT: List = &[
    ("reading_id", Field("Reading", "reading_id")),
    ("component", Text("The number of the part of a panel, from 1; 0 for the value of the reading itself.")),
    (
        "patient_id",
        Text("The patient to whom the value belongs; null when no patient is known, for the reason in attribution."),
    ),
    (
        "attribution",
        Text(
            "How the patient is known: subject (the request authenticated the patient) or assignment (the patient held the device at the time of measurement). Otherwise why no patient is known: no device, no time, never assigned, unassigned at that time, time spans holders (an imprecise time within which two patients held the device).",
        ),
    ),
    ("patient_claim", Field("Reading", "patient_claim")),
    (
        "claim_conflict",
        Text(
            "Whether patient_claim names another patient than patient_id. Of a FHIR reference, the part after Patient/ and before # is compared, without decoding percent signs. False when patient_claim or patient_id is null, and for a claim that names nobody outside of its payload: urn:uuid, urn:oid, a fragment alone, or no id after Patient/.",
        ),
    ),
    ("provider", Field("Reading", "provider")),
    (
        "device_id",
        Text("The identifier of the device that measured, as its provider writes it; null when no device is named."),
    ),
    ("gateway_id", Text("The identifier of the hub that forwarded the reading; null when there is none.")),
    ("source", Field("Reading", "source")),
    (
        "code_system",
        Text(
            "The URI of the code system of code: http://loinc.org when a LOINC code exists, else the source's own system.",
        ),
    ),
    ("code", Text("What was observed.")),
    ("display", Text("The display text of code.")),
    (
        "panel_code",
        Text("The code of the panel of which the value is a part; null for the value of the reading itself."),
    ),
    (
        "value_num",
        Text("The number in unit. Null when there is a comparator: the number is then a bound and is in bound_num."),
    ),
    ("comparator", Field("Quantity", "comparator")),
    (
        "bound_num",
        Text(
            "The bound in unit when there is a comparator: the value is less than the bound, greater than the bound, and so on.",
        ),
    ),
    ("value_text", Text("The value when it is a text; the text of a coded value; or true or false.")),
    ("value_code_system", Text("The URI of the code system of value_code.")),
    ("value_code", Text("The value when it is a code.")),
    (
        "absent_reason",
        Text(
            "Why there is no value (FHIR R4 DataAbsentReason, or panel: only the parts of a panel would have values, and there are none); null when there is a value.",
        ),
    ),
    (
        "unit",
        Text(
            "The UCUM unit of value_num, bound_num or the samples; 1 for a number without a dimension. With the flag unknown-metric or unknown-unit, the unit as the source wrote it.",
        ),
    ),
    ("source_value", Field("Quantity", "source_value")),
    ("source_unit", Field("Quantity", "source_unit")),
    ("sample_period_ms", Field("Waveform", "period_ms")),
    ("sample_origin", Field("Waveform", "origin")),
    ("sample_factor", Field("Waveform", "factor")),
    ("sample_dimensions", Field("Waveform", "dimensions")),
    ("samples", Field("Waveform", "samples")),
    ("document_sha256", Text("The SHA-256 of the document, lower-case hexadecimal: the key in document_contents.")),
    ("document_type", Field("DocumentReference", "content_type")),
    ("document_title", Field("DocumentReference", "title")),
    (
        "measured_from",
        Text(
            "When the measurement began; the start of the time span when time_precision is coarser than a second. Null when the source gives no time.",
        ),
    ),
    ("measured_until", Field("Reading", "measured_until")),
    ("time_precision", Field("Reading", "time_precision")),
    ("status", Field("Reading", "status")),
    (
        "flags",
        Text(
            "What a reader should know about how the value was derived; docs/flags.md explains each flag. A part of a panel has its own flags, and local-time and measured-in-future of the reading.",
        ),
    ),
    ("received_at", Text("When the broker appended the raw record.")),
    ("mapping_version", Field("Provenance", "mapping_version")),
    ("receipt", Text("The receipt of the payload, as input for device-manager trace.")),
    ("catalogue_revision", Field("Provenance", "catalogue_revision")),
];

const POSITION: List = &[
    ("topic_code", TopicCode),
    ("topic_epoch", Field("Provenance", "topic_epoch")),
    ("raw_partition", Field("Provenance", "partition")),
    ("raw_offset", Field("Provenance", "offset")),
];

const STORED_AT: (&str, CommentSource) = (
    "stored_at",
    Text("When a sink stored the row, by the clock of Postgres; null in rows of releases before replays."),
);

const REPLACED_AT: (&str, CommentSource) =
    ("replaced_at", Text("When a sink replaced the row, by the clock of Postgres."));

/// The columns of tables of readings that the sink sets and that are no part of a reading.
pub(super) const OF_STORING: List = &[STORED_AT];

/// The columns of replaced readings that are no part of a reading.
pub(super) const OF_REPLACING: List = &[STORED_AT, REPLACED_AT];

const RAW: List = &[
    ("topic_epoch", Field("Assignment", "topic_epoch")),
    ("raw_partition", Field("Assignment", "partition")),
    ("raw_offset", Field("Assignment", "offset")),
];

const RUN: List = &[
    ("topic_epoch", Text("The epoch of the raw topic.")),
    ("raw_partition", Text("The partition of the raw records.")),
    ("first_offset", Text("The offset of the first record of the run.")),
    ("last_offset", Text("The offset of the last record of the run.")),
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
