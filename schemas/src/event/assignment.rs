//! A device command: an assign or an unassign.

use uuid::Uuid;

use super::{DeviceId, PatientId, SourceName};
use crate::{
    codec::{Event, Fingerprint, avro_enum, avro_record},
    format::Provider,
};

avro_record! {
    /// One accepted device command. The event is not an interval itself: the sink computes the intervals from all commands of a
    /// device, ordered by `effective_from` and then by append position.
    pub struct Assignment {
        /// Name-based UUID of provider and device id.
        pub device_key: Uuid,
        /// The command.
        pub command: Command,
        /// The device's provider; absent for an unassign, which identifies the device by its key alone.
        pub provider: Option<Provider>,
        /// The device's identifier at its provider; absent for an unassign.
        pub device_id: Option<DeviceId>,
        /// The kind of device as the operator wrote it, such as `Wearable`.
        pub device_type: Option<String>,
        /// The device's name as the operator wrote it.
        pub name: Option<String>,
        /// The serial number as the operator wrote it.
        pub serial_number: Option<String>,
        /// The device's features as the operator wrote them, as compact JSON text.
        pub features: Option<String>,
        /// The patient to whom the device is assigned; absent for an unassign.
        pub patient: Option<PatientId>,
        /// The time from which the command is in effect, microseconds since the epoch. Absent when the command gives no time. It is
        /// then in effect from its append time, or from that of an earlier command in its partition if that is later because the
        /// broker's clock went back.
        pub effective_from: Option<i64>,
        /// The credential's stable source name.
        pub source: SourceName,
        /// The patient whom the request authenticated, when patients send a command for themselves.
        pub subject: Option<PatientId>,
        /// The providers for whose devices the credential may send commands; empty when it may do so for all providers.
        pub bound_to: Vec<Provider>,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// The epoch of the raw topic, which an operator raises when the topic is created anew.
        pub topic_epoch: i32,
        /// The raw topic's partition.
        pub partition: i32,
        /// The raw record's offset.
        pub offset: i64,
        /// The version of the mapping that made the event.
        pub mapping_version: i32,
        /// The id of the key with which the personal data in this event is encrypted; absent while it is not encrypted.
        pub key_id: Option<String>,
    }
}

impl Event for Assignment {
    const NAME: &'static str = "devicemanager.Assignment";
    const SCHEMA: &'static str = include_str!("../../avro/assignment.avsc");
    const FINGERPRINT: Fingerprint = Fingerprint([0x63, 0x97, 0xe4, 0xb4, 0xe3, 0x97, 0xf9, 0x97]);
}

avro_enum! {
    /// What a device command does.
    pub enum Command {
        /// Assigns the device to a patient and ends the previous assignment.
        Assign = "assign",
        /// Ends the current assignment.
        Unassign = "unassign",
    }
}
