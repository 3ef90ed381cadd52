//! Raw records: a payload byte for byte, and headers with what the ingress knows about it.

use crate::{
    event::{PatientId, SourceName},
    format::{Defaults, Format, Provider, RawTopic},
    upload::Upload,
};

/// Header names of raw records. All values are UTF-8.
pub mod header {
    /// The format that the sender named; on `raw.devices` `assign` or `unassign`.
    pub const FORMAT: &str = "format";
    /// The request's `Content-Type`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// The id of the credential; never its secret.
    pub const CREDENTIAL: &str = "credential";
    /// The credential's stable source name.
    pub const SOURCE: &str = "source";
    /// The authenticated patient.
    pub const SUBJECT: &str = "subject";
    /// The request's `X-Correlation-ID`, or one made by the ingress.
    pub const CORRELATION_ID: &str = "correlation-id";
    /// W3C Trace Context of the request.
    pub const TRACEPARENT: &str = "traceparent";
    /// The keyed hash of the value ([`crate::content`]), lower-case hexadecimal.
    pub const CONTENT_HMAC: &str = "hmac-sha256";
    /// The request's `type` parameter: the type of all samples that do not name one.
    pub const TYPE: &str = "type";
    /// The request's `unit` parameter.
    pub const UNIT: &str = "unit";
    /// The request's `deviceId` parameter; on `raw.devices` the `_id` from the path of an unassign.
    pub const DEVICE_ID: &str = "deviceId";
    /// The documented defaults for what the payload leaves out ([`crate::format::Defaults`]), from the request's `defaults`
    /// parameter, else from the API key.
    pub const DEFAULTS: &str = "defaults";
    /// A provider to which the credential is bound, one header for each; absent when the credential is not bound.
    pub const PROVIDER: &str = "provider";
    /// The upload and the part of it that the record is ([`crate::upload`]); absent when the record is a whole body.
    pub const UPLOAD: &str = "upload";
    /// The id of the key with which the value is encrypted; absent while values are not encrypted (ADR 2).
    pub const KEY_ID: &str = "key-id";
}

/// What a raw record contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A payload with readings.
    Payload(Format),
    /// `POST /devices/assign`.
    Assign,
    /// `POST /devices/:id/unassign`.
    Unassign,
}

impl RecordKind {
    /// Returns the word in the `format` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload(format) => format.as_str(),
            Self::Assign => "assign",
            Self::Unassign => "unassign",
        }
    }

    /// Parses the `format` header of a record on `topic`.
    #[must_use]
    pub fn parse(topic: RawTopic, word: &str) -> Option<Self> {
        match (topic, word) {
            (RawTopic::Devices, "assign") => Some(Self::Assign),
            (RawTopic::Devices, "unassign") => Some(Self::Unassign),
            (RawTopic::Devices, _) => None,
            (_, word) => Format::from_word(word).map(Self::Payload),
        }
    }
}

/// The headers of a raw record: what the ingress knows about the payload.
#[derive(Clone)]
pub struct Headers {
    /// What the record contains.
    pub kind: RecordKind,
    /// The request's `Content-Type`.
    pub content_type: Option<String>,
    /// The id of the credential.
    pub credential: String,
    /// The credential's stable source name.
    pub source: SourceName,
    /// The authenticated patient.
    pub subject: Option<PatientId>,
    /// The request's correlation id.
    pub correlation_id: String,
    /// W3C Trace Context.
    pub traceparent: Option<String>,
    /// The keyed hash of the value ([`crate::content`]), lower-case hexadecimal.
    pub content_hmac: String,
    /// The type of all samples that do not name one.
    pub sample_type: Option<String>,
    /// The unit of all samples that do not name one.
    pub unit: Option<String>,
    /// The device of all samples that do not name one, and of all of an export.xml; on `raw.devices` the `_id` from the path.
    pub device_id: Option<String>,
    /// The documented defaults for what the payload leaves out.
    pub defaults: Option<Defaults>,
    /// The providers to which the credential is bound; empty when the credential is not bound.
    pub providers: Vec<Provider>,
    /// The upload and the part of it that the record is; `None` when the record is a whole body.
    pub upload: Option<Upload>,
    /// The id of the key with which the value is encrypted.
    pub key_id: Option<String>,
}

/// A header of a raw record cannot be read. Contains the name of the header, never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {name} is missing or invalid")]
pub struct HeaderError {
    /// The name of the header.
    pub name: &'static str,
}

impl Headers {
    /// Returns the headers as names and values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            (header::FORMAT, Some(self.kind.as_str())),
            (header::CONTENT_TYPE, self.content_type.as_deref()),
            (header::CREDENTIAL, Some(self.credential.as_str())),
            (header::SOURCE, Some(self.source.as_str())),
            (header::SUBJECT, self.subject.as_ref().map(PatientId::as_str)),
            (header::CORRELATION_ID, Some(self.correlation_id.as_str())),
            (header::TRACEPARENT, self.traceparent.as_deref()),
            (header::CONTENT_HMAC, Some(self.content_hmac.as_str())),
            (header::TYPE, self.sample_type.as_deref()),
            (header::UNIT, self.unit.as_deref()),
            (header::DEVICE_ID, self.device_id.as_deref()),
            (header::DEFAULTS, self.defaults.map(Defaults::as_str)),
            (header::UPLOAD, self.upload.as_ref().map(Upload::as_str)),
            (header::KEY_ID, self.key_id.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .chain(self.providers.iter().map(|provider| (header::PROVIDER, provider.as_str())))
    }

    /// Reads the headers of a record on `topic`. Unknown headers are ignored.
    ///
    /// # Errors
    /// [`HeaderError`] when a required header is missing or a value is invalid.
    pub fn read<'a>(
        topic: RawTopic,
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeaderError> {
        let mut found = HeaderTexts::default();
        let mut providers = Vec::new();
        for (name, value) in pairs {
            if name == header::PROVIDER {
                let word = std::str::from_utf8(value).ok().and_then(Provider::from_word);
                providers.push(word.ok_or(HeaderError { name: header::PROVIDER })?);
            } else {
                found.set(name, value)?;
            }
        }
        let word = found.format.ok_or(HeaderError { name: header::FORMAT })?;
        let upload = found.upload.map(|text| Upload::parse(&text).ok_or(HeaderError { name: header::UPLOAD }));
        let defaults = found.defaults.map(|word| Defaults::parse(&word).ok_or(HeaderError { name: header::DEFAULTS }));
        let subject = found.subject.map(|text| PatientId::parse(&text)).transpose();
        Ok(Self {
            kind: RecordKind::parse(topic, &word).ok_or(HeaderError { name: header::FORMAT })?,
            content_type: found.content_type,
            credential: found.credential.ok_or(HeaderError { name: header::CREDENTIAL })?,
            source: found
                .source
                .and_then(|text| SourceName::parse(&text).ok())
                .ok_or(HeaderError { name: header::SOURCE })?,
            subject: subject.map_err(|_| HeaderError { name: header::SUBJECT })?,
            correlation_id: found.correlation_id.unwrap_or_default(),
            traceparent: found.traceparent,
            content_hmac: found.content_hmac.unwrap_or_default(),
            sample_type: found.sample_type,
            unit: found.unit,
            device_id: found.device_id,
            defaults: defaults.transpose()?,
            providers,
            upload: upload.transpose()?,
            key_id: found.key_id,
        })
    }
}

/// The texts of the headers that occur at most once.
#[derive(Default)]
struct HeaderTexts {
    format: Option<String>,
    content_type: Option<String>,
    credential: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    content_hmac: Option<String>,
    sample_type: Option<String>,
    unit: Option<String>,
    device_id: Option<String>,
    defaults: Option<String>,
    upload: Option<String>,
    key_id: Option<String>,
}

impl HeaderTexts {
    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderError> {
        let (name, text) = match name {
            header::FORMAT => (header::FORMAT, &mut self.format),
            header::CONTENT_TYPE => (header::CONTENT_TYPE, &mut self.content_type),
            header::CREDENTIAL => (header::CREDENTIAL, &mut self.credential),
            header::SOURCE => (header::SOURCE, &mut self.source),
            header::SUBJECT => (header::SUBJECT, &mut self.subject),
            header::CORRELATION_ID => (header::CORRELATION_ID, &mut self.correlation_id),
            header::TRACEPARENT => (header::TRACEPARENT, &mut self.traceparent),
            header::CONTENT_HMAC => (header::CONTENT_HMAC, &mut self.content_hmac),
            header::TYPE => (header::TYPE, &mut self.sample_type),
            header::UNIT => (header::UNIT, &mut self.unit),
            header::DEVICE_ID => (header::DEVICE_ID, &mut self.device_id),
            header::DEFAULTS => (header::DEFAULTS, &mut self.defaults),
            header::UPLOAD => (header::UPLOAD, &mut self.upload),
            header::KEY_ID => (header::KEY_ID, &mut self.key_id),
            _ => return Ok(()),
        };
        *text = Some(std::str::from_utf8(value).map_err(|_| HeaderError { name })?.to_owned());
        Ok(())
    }
}

/// One raw record as the normalizer reads it: everything on which the pure mapping may depend.
pub struct RawRecord<'a> {
    /// The raw topic.
    pub topic: RawTopic,
    /// The epoch of the raw topic, which an operator raises when the topic is created anew.
    pub topic_epoch: u16,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The broker's append time, microseconds since the epoch.
    pub received_at: i64,
    /// The headers.
    pub headers: Headers,
    /// The payload byte for byte.
    pub body: &'a [u8],
}
