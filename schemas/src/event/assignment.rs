//! A command about who holds a device.

use uuid::Uuid;

use super::{DeviceId, PatientId, SourceName};
use crate::{
    codec::{Event, Fingerprint, avro_enum, avro_record},
    format::Provider,
};

avro_record! {
    /// One accepted device command. The sink folds all commands of a device, ordered by `effective_from` and then by
    /// append position, into intervals; the event itself is no interval.
    pub struct Assignment {
        /// Name-based UUID of provider and device id.
        pub device_key: Uuid,
        /// What is commanded.
        pub command: Command,
        /// The device's provider; an unassign names the device by its key alone.
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
        /// Who gets the device; absent for an unassign.
        pub patient: Option<PatientId>,
        /// From when the command holds, microseconds since the epoch. None where the command gives none: it holds from when it was
        /// appended, or from when the one before it in its partition was, where the broker's clock went back between the two.
        pub effective_from: Option<i64>,
        /// The credential's stable source name.
        pub source: SourceName,
        /// The patient that the request authenticated, when a patient commands for themself.
        pub subject: Option<PatientId>,
        /// The providers whose devices the credential may command; empty where it may command those of any.
        pub bound_to: Vec<Provider>,
        /// When the broker appended the raw record, microseconds since the epoch.
        pub received_at: i64,
        /// The incarnation of the raw topic.
        pub topic_epoch: i32,
        /// The raw topic's partition.
        pub partition: i32,
        /// The raw record's offset.
        pub offset: i64,
        /// The version of the mapping that made the event.
        pub mapping_version: i32,
        /// The key the personal data in this event is encrypted with; none while it is in clear.
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
        /// Gives the device to a patient and ends the previous assignment.
        Assign = "assign",
        /// Ends the current assignment.
        Unassign = "unassign",
    }
}
