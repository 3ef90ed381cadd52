//! Providers, formats and raw topics, with their words in paths, headers, events and tables.

use std::sync::LazyLock;

use crate::codec::{Element, avro_enum};

avro_enum! {
    /// A system that sends readings.
    pub enum Provider {
        /// The Medisanté portal.
        Medisante = "medisante",
        /// Apple HealthKit, through an app and its back end.
        HealthKit = "healthkit",
    }
}

impl Element for Provider {}

impl Provider {
    /// The names besides [`Provider::as_str`].
    const ALIASES: [(&'static str, Self); 1] = [("apple-healthkit", Self::HealthKit)];

    /// Returns each name by which a device command, a key or an argument may name a provider.
    pub fn names() -> impl Iterator<Item = (&'static str, Self)> {
        Self::ALL.iter().map(|provider| (provider.as_str(), *provider)).chain(Self::ALIASES)
    }

    /// Returns the names as a sentence lists them: `a, b or c`.
    #[must_use]
    pub fn names_text() -> &'static str {
        static TEXT: LazyLock<String> = LazyLock::new(|| {
            let mut names: Vec<&str> = Provider::names().map(|(name, _)| name).collect();
            let last = names.pop().unwrap_or_default();
            format!("{} or {last}", names.join(", "))
        });
        &TEXT
    }

    /// Parses one of the [`Provider::names`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::names().find_map(|(name, provider)| (name == text).then_some(provider))
    }

    /// Returns the raw topic for payloads of this provider in a format.
    #[must_use]
    pub const fn raw_topic(self, format: Format) -> RawTopic {
        match (self, format) {
            (_, Format::ExportXml) => RawTopic::Uploads,
            (Self::Medisante, _) => RawTopic::Medisante,
            (Self::HealthKit, _) => RawTopic::HealthKit,
        }
    }

    /// Returns the formats that this provider sends, in the order in which clients see them.
    #[must_use]
    pub const fn formats(self) -> &'static [Format] {
        match self {
            Self::Medisante => &[Format::StandardJson, Format::StandardXml, Format::FhirJson, Format::FhirXml],
            Self::HealthKit => {
                &[Format::StandardJson, Format::FhirJson, Format::FhirXml, Format::HealthAutoExport, Format::ExportXml]
            }
        }
    }
}

avro_enum! {
    /// The format of a payload.
    pub enum Format {
        /// The provider's own JSON.
        StandardJson = "standard-json",
        /// The provider's own XML (Medisanté only).
        StandardXml = "standard-xml",
        /// FHIR R4 as JSON.
        FhirJson = "fhir-json",
        /// FHIR R4 as XML.
        FhirXml = "fhir-xml",
        /// The JSON of the app Health Auto Export.
        HealthAutoExport = "health-auto-export",
        /// Apple's own `export.xml`.
        ExportXml = "export-xml",
    }
}

impl Format {
    /// The names of the provider's own formats besides [`Format::as_str`].
    const ALIASES: [(&'static str, Self); 2] = [("json", Self::StandardJson), ("xml", Self::StandardXml)];

    /// Returns each name by which a path or an argument may name a format.
    pub fn names() -> impl Iterator<Item = (&'static str, Self)> {
        Self::ALL.iter().map(|format| (format.as_str(), *format)).chain(Self::ALIASES)
    }

    /// Parses one of the [`Format::names`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::names().find_map(|(name, format)| (name == text).then_some(format))
    }

    /// Returns the media type that selects the format if the path names none; `None` if only the path can select it. `text/xml`
    /// means the same as `application/xml`.
    #[must_use]
    pub const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::StandardJson => Some("application/json"),
            Self::StandardXml | Self::ExportXml => Some("application/xml"),
            Self::FhirJson => Some("application/fhir+json"),
            Self::FhirXml => Some("application/fhir+xml"),
            Self::HealthAutoExport => None,
        }
    }

    /// Returns whether the payload is XML. It is JSON otherwise.
    #[must_use]
    pub const fn is_xml(self) -> bool {
        match self {
            Self::StandardXml | Self::FhirXml | Self::ExportXml => true,
            Self::StandardJson | Self::FhirJson | Self::HealthAutoExport => false,
        }
    }

    /// Returns whether the sender gets one receipt for each item of the payload. This is so only for arrays of HealthKit samples.
    #[must_use]
    pub fn has_item_receipts(self, provider: Provider) -> bool {
        provider == Provider::HealthKit && self == Self::StandardJson
    }
}

/// The documented defaults for what a payload leaves out. The sender declares them for a request, or the operator for a key; they
/// are never guessed from the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// The units in which the library react-native-health returns values.
    ReactNativeHealth,
}

impl Defaults {
    /// All values.
    pub const ALL: [Self; 1] = [Self::ReactNativeHealth];

    /// Returns the word used in requests, in the keys file and in raw records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReactNativeHealth => "react-native-health",
        }
    }

    /// Parses the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defaults| defaults.as_str() == word)
    }
}

avro_enum! {
    /// A topic that contains payloads byte for byte.
    pub enum RawTopic {
        /// `raw.medisante`.
        Medisante = "raw.medisante",
        /// `raw.healthkit`.
        HealthKit = "raw.healthkit",
        /// `raw.devices`: device commands.
        Devices = "raw.devices",
        /// `raw.uploads`: large uploads of HealthKit apps.
        Uploads = "raw.uploads",
    }
}

impl RawTopic {
    /// The topics whose records are whole bodies: all except that of large uploads, which is read separately.
    pub const BODIES: &'static [Self] = &[Self::Medisante, Self::HealthKit, Self::Devices];

    /// Returns the provider whose payloads the topic contains; `None` for device commands.
    #[must_use]
    pub const fn provider(self) -> Option<Provider> {
        match self {
            Self::Medisante => Some(Provider::Medisante),
            Self::HealthKit | Self::Uploads => Some(Provider::HealthKit),
            Self::Devices => None,
        }
    }

    /// Returns the number of the topic in receipts and in tables. It never changes, whatever the order of the variants.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Medisante => 0,
            Self::HealthKit => 1,
            Self::Devices => 2,
            Self::Uploads => 3,
        }
    }

    /// Returns the topic with a number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.code() == code)
    }

    /// Returns what the topic contains, for operators.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            Self::Medisante => "payloads of the Medisanté portal, byte for byte",
            Self::HealthKit => "payloads of HealthKit apps, byte for byte",
            Self::Devices => "device commands, byte for byte",
            Self::Uploads => "large uploads of HealthKit apps, as chunks",
        }
    }
}

/// One value for each raw topic.
pub struct PerRawTopic<T> {
    medisante: T,
    healthkit: T,
    devices: T,
    uploads: T,
}

impl<T> PerRawTopic<T> {
    /// Creates the value of each topic.
    pub fn new(value: impl Fn(RawTopic) -> T) -> Self {
        Self {
            medisante: value(RawTopic::Medisante),
            healthkit: value(RawTopic::HealthKit),
            devices: value(RawTopic::Devices),
            uploads: value(RawTopic::Uploads),
        }
    }

    /// Returns the value of a topic.
    pub const fn get(&self, topic: RawTopic) -> &T {
        match topic {
            RawTopic::Medisante => &self.medisante,
            RawTopic::HealthKit => &self.healthkit,
            RawTopic::Devices => &self.devices,
            RawTopic::Uploads => &self.uploads,
        }
    }
}
