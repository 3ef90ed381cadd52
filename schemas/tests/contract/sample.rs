//! Readings with invented values, one for each seed. Together they cover every branch of every union and enum.

use schemas::{
    event::{
        Coded, Coding, Component, Device, DeviceId, DocumentReference, Flag, Missing, PatientId, Precision, Provenance,
        Quantity, Reading, SourceName, Status, Value, Waveform,
    },
    format::{Format, Provider, RawTopic},
};
use uuid::Uuid;

/// A splitmix64 sequence, which does not depend on the version of a generator library.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll() % of.len() as u64).unwrap()]
    }

    fn text<T: From<&'static str>>(&mut self) -> T {
        self.pick(&[
            "",
            "5.5",
            "mmol/L",
            "Größe",
            "日本",
            "a much longer text, beyond one length byte: ".repeat(3).leak(),
        ])
        .into()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.roll().is_multiple_of(2)).then(|| make(self))
    }

    fn many<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.roll() % 3).map(|_| make(self)).collect()
    }

    fn long(&mut self) -> i64 {
        let shift = self.roll() % 64;
        (self.roll() >> shift).cast_signed()
    }

    fn int(&mut self) -> i32 {
        i32::try_from(self.roll() % 1_000_000).unwrap()
    }

    fn coding(&mut self) -> Coding {
        Coding { system: self.text(), code: self.text(), display: self.maybe(Self::text) }
    }

    fn device(&mut self) -> Device {
        Device {
            key: Uuid::from_u128(u128::from(self.roll())),
            id: DeviceId::parse(self.pick(&["9", "Maker:Model:1"])).ok().unwrap(),
            manufacturer: self.maybe(Self::text),
            model: self.maybe(Self::text),
            serial: self.maybe(Self::text),
        }
    }

    fn value(&mut self) -> Value {
        match self.roll() % 7 {
            0 => Value::Quantity(Quantity {
                value: self.text(),
                unit: self.text(),
                source_value: self.text(),
                source_unit: self.maybe(Self::text),
                comparator: self.maybe(Self::text),
            }),
            1 => Value::Coded(Coded { coding: self.coding(), text: self.maybe(Self::text) }),
            2 => Value::Text(self.text()),
            3 => Value::Boolean(self.roll().is_multiple_of(2)),
            4 => Value::Waveform(Waveform {
                origin: self.text(),
                unit: self.text(),
                period_ms: self.text(),
                factor: self.text(),
                dimensions: self.int(),
                samples: self.text(),
            }),
            5 => Value::Document(DocumentReference {
                sha256: [7; 32],
                content_type: self.text(),
                bytes: self.long(),
                title: self.maybe(Self::text),
            }),
            _ => Value::Absent(self.pick(Missing::ALL)),
        }
    }

    fn flags(&mut self) -> Vec<Flag> {
        self.many(|dice| dice.pick(Flag::ALL))
    }

    fn component(&mut self) -> Component {
        Component {
            code: self.coding(),
            source_codes: self.many(Self::coding),
            value: self.value(),
            flags: self.flags(),
        }
    }

    pub(crate) fn reading(&mut self) -> Reading {
        Reading {
            reading_id: Uuid::from_u128(u128::from(self.roll()) << 64 | u128::from(self.roll())),
            provider: self.pick(Provider::ALL),
            source: SourceName::parse("portal").ok().unwrap(),
            device: self.maybe(Self::device),
            gateway: self.maybe(Self::device),
            subject: self.maybe(|_| PatientId::parse("p-1").ok().unwrap()),
            patient_claim: self.maybe(Self::text),
            code: self.coding(),
            source_codes: self.many(Self::coding),
            value: self.value(),
            components: self.many(Self::component),
            status: self.pick(Status::ALL),
            measured_from: self.maybe(Self::long),
            measured_until: self.maybe(Self::long),
            imprecise_until: self.maybe(Self::long),
            time_precision: self.pick(Precision::ALL),
            offset_minutes: self.maybe(|dice| dice.int() % 1681 - 840),
            measured_text: self.maybe(Self::text),
            measured_until_text: self.maybe(Self::text),
            received_at: self.long(),
            source_version: self.maybe(|dice| dice.long() % 3),
            source_updated_at: self.maybe(|dice| dice.long() % 3),
            content: [3; 16],
            flags: self.flags(),
            provenance: Provenance {
                topic: self.maybe(|dice| dice.pick(RawTopic::ALL)),
                topic_epoch: self.int(),
                partition: self.int(),
                offset: self.long(),
                item: self.int(),
                format: self.pick(Format::ALL),
                mapping_version: self.int(),
                catalogue_revision: self.int(),
            },
            key_id: self.maybe(Self::text),
            withdrawn: self.roll().is_multiple_of(2),
            replay: self.maybe(Self::int),
        }
    }
}
