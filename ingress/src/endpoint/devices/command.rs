//! What both device commands share: a command is kept, also if it cannot be used, and answered with its receipt.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Uri, request::Parts},
};
use schemas::{
    command,
    format::RawTopic,
    raw::{Headers, Kind},
};
use service::http::{
    body::{self, Received},
    problem::{Fault, Location},
};
use uuid::Uuid;

use crate::{
    accept::{self, Sender},
    admission::{self, Authenticated},
    endpoint::documented::{self, Documented, ExampleBody},
    keys::{Credential, Scope},
    parameters::Parameters,
    raw_log::{Destination, RawAppend},
    refusal::Refusal,
    request_context::RequestContext,
    wellformed::{self, Malformed},
};

/// The response header with a command's receipt.
pub(super) const RECEIPT: HeaderName = HeaderName::from_static("receipt");

/// A body that neither command takes; what is answered to it is an example.
const UNUSABLE: &str = "{\"deviceId\": \"watch-1\", \"name\": \"Watch\", \"effectiveTo\": \"2025-06-01T08:00:00Z\"}";

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

impl From<command::Refused> for Unusable {
    fn from(refused: command::Refused) -> Self {
        Self::Faults(refused.faults.iter().map(fault).collect())
    }
}

/// A fault of a member of a command's body, as it stands in the problem document.
fn fault(fault: &command::Fault) -> Fault {
    let name = match fault {
        command::Fault::NotAnObject => None,
        command::Fault::Missing { member, .. }
        | command::Fault::Invalid { member, .. }
        | command::Fault::Repeated { member } => Some(*member),
        command::Fault::Unknown { name, .. } => name.as_deref(),
    };
    Fault::new(name, Location::Body, fault.for_sender())
}

/// A command's request, once its sender is admitted and its body is read.
pub(super) struct Sent {
    pub(super) credential: Arc<Credential>,
    pub(super) body: Received,
    headers: HeaderMap,
}

impl Sent {
    /// Which provider's devices the key is good for is seen later. The `_id` that an unassign names is a one-way name and does not show
    /// the provider: the sink, which knows the device, applies the key's list of providers.
    pub(super) async fn read(
        context: &RequestContext,
        sender: Authenticated,
        request: Request,
    ) -> Result<Self, Refusal> {
        let (Parts { uri, headers, .. }, body) = request.into_parts();
        let credential = admission::admit(sender, Scope::DevicesWrite, None)
            .and_then(|credential| Parameters::none(&uri).map(|()| credential));
        let (credential, body) = body::admitted(credential, &headers, body).await?;
        let body = body::read(&headers, body, context.shared().limits).await?;
        Ok(Self { credential, body, headers })
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

/// Accepts a command and returns its receipt.
pub(super) async fn accept(context: &RequestContext, sent: &Sent, command: Command) -> Result<String, Refusal> {
    let (shared, topic) = (context.shared(), RawTopic::Devices);
    let Sent { credential, body, headers } = sent;
    let sender = Sender { credential, headers, correlation_id: &context.correlation_id };
    let hash = shared.content_key.hash(&body.bytes);
    let headers = Headers {
        device_id: command.in_path,
        providers: credential.providers().to_vec(),
        ..sender.record_headers(command.kind, &hash)
    };
    // Commands for one device lie in one partition, in their order; of one that names no device only the bytes are known.
    let key = command.device.as_ref().map(Uuid::to_string);
    let destination = match key.as_deref() {
        Some(key) => Destination::Key(key),
        None => accept::partition(shared, topic, &hash)?,
    };
    let record = RawAppend { topic, destination, headers: &headers, body: &body.bytes };
    let position = accept::append(shared, &record).await?;
    let receipt = shared.receipt_key.issue(&position);
    match command.checked {
        Ok(()) => {
            shared.meters.accepted(topic).increment(1);
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

/// The examples of a command: a body that is accepted, and each refusal. `read` says why the command cannot be used.
pub(super) fn documented(path: &'static str, body: ExampleBody, read: impl Fn(&str) -> Option<Unusable>) -> Documented {
    let mut refusals = documented::refusals(Scope::DevicesWrite);
    let parameter = Parameters::none(&Uri::from_static(documented::UNKNOWN_PARAMETER));
    refusals.extend(parameter.err().map(|refusal| ("parameter", refusal)));
    refusals.extend(read(UNUSABLE).map(|unusable| ("command", unusable.refusal(documented::RECEIPT.to_owned()))));
    Documented { path, bodies: vec![body], refusals }
}
