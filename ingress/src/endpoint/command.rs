//! What both device commands share: a command is kept, also if it cannot be used, and answered with its receipt.

use axum::http::{HeaderName, request::Parts};
use schemas::{
    command::Refused,
    format::RawTopic,
    raw::{Headers, Kind},
};
use uuid::Uuid;

use crate::{
    body::Received,
    exchange::Exchange,
    keep::{self, Kept},
    keys::Credential,
    problem::Fault,
    raw_log::Place,
    refusal::Refusal,
    wellformed::{self, Malformed},
};

/// The response header with a command's receipt.
pub(super) const RECEIPT: HeaderName = HeaderName::from_static("receipt");

/// Why a command cannot be used.
pub(super) enum Unusable {
    /// The body is no JSON.
    Malformed(Malformed),
    /// Members are missing, unknown or wrong.
    Faults(Vec<Fault>),
}

impl Unusable {
    /// The refusal of a command that is kept under this receipt.
    pub(super) fn refusal(self, receipt: String) -> Refusal {
        match self {
            Self::Malformed(why) => Refusal::Malformed(why, receipt),
            Self::Faults(faults) => Refusal::Command(faults, receipt),
        }
    }
}

impl From<Malformed> for Unusable {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Refused> for Unusable {
    fn from(refused: Refused) -> Self {
        Self::Faults(refused.faults.iter().map(Fault::of_command).collect())
    }
}

/// A command, as far as it is understood.
pub(super) struct Command {
    pub(super) kind: Kind,
    /// The device's `_id`, if it is known.
    pub(super) device: Option<Uuid>,
    /// What the path of the request names.
    pub(super) in_path: Option<String>,
    pub(super) checked: Result<(), Unusable>,
}

/// Keeps a command and returns its receipt.
pub(super) async fn keep(
    exchange: &Exchange<'_>,
    (parts, credential): (&Parts, &Credential),
    received: &Received,
    command: Command,
) -> Result<String, Refusal> {
    let shared = exchange.shared;
    let hash = shared.content_key.hash(&received.bytes);
    let headers = Headers {
        device_id: command.in_path,
        providers: credential.providers().to_vec(),
        ..keep::headers(command.kind, &parts.headers, credential, &exchange.correlation_id, &hash)
    };
    // Commands for one device lie in one partition, in their order; of one that names no device only the bytes are known.
    let key = command.device.as_ref().map(Uuid::to_string);
    let place = match key.as_deref() {
        Some(key) => Place::Key(key),
        None => keep::partition(shared, RawTopic::Devices, &hash)?,
    };
    let kept = Kept { topic: RawTopic::Devices, place, headers, body: &received.bytes };
    let position = keep::keep(shared, &kept).await?;
    let receipt = shared.receipt_key.issue(&position);
    match command.checked {
        Ok(()) => {
            shared.meters.accepted(RawTopic::Devices).increment(1);
            Ok(receipt)
        }
        Err(unusable) => Err(unusable.refusal(receipt)),
    }
}

/// The body as text, if it is JSON. The depth is checked as well, so that parsing cannot run deep.
pub(super) fn json(received: &Received) -> Result<&str, Malformed> {
    if !received.decoded {
        return Err(Malformed::Coding);
    }
    let text = wellformed::text(&received.bytes)?;
    wellformed::any_json(text)?;
    Ok(text)
}
