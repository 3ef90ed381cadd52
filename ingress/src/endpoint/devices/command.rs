//! The part that both device commands share: a command is stored, even if it is invalid, and answered with its receipt.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Uri, request::Parts},
};
use schemas::{
    command,
    format::RawTopic,
    raw::{Headers, RecordKind},
};
use service::http::{
    body::{self, Received},
    problem::{Fault, Location},
};
use uuid::Uuid;

use crate::{
    accept::{self, Sender},
    admission::{self, Authenticated},
    endpoint::examples::{self, EndpointExamples, ExampleBody},
    keys::{Credential, Scope},
    parameters::Parameters,
    raw_log::{Destination, RawAppend},
    refusal::Refusal,
    request_context::RequestContext,
    wellformed::{self, Malformed},
};

/// The response header with a command's receipt.
pub(super) const RECEIPT: HeaderName = HeaderName::from_static("receipt");

/// A body that is invalid for both commands; the response to it is an example in the OpenAPI document.
const UNUSABLE: &str = "{\"deviceId\": \"watch-1\", \"name\": \"Watch\", \"effectiveTo\": \"2025-06-01T08:00:00Z\"}";

/// Why a command is invalid.
pub(super) enum Unusable {
    /// The body is not JSON.
    Malformed(Malformed),
    /// Members are missing, unknown or invalid.
    Faults(Vec<Fault>),
}

impl Unusable {
    /// Returns the refusal of a command that was stored with this receipt.
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

/// Converts a fault of a command's body into a fault of the problem document.
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

/// The request of an admitted sender, with its body.
pub(super) struct AdmittedCommand {
    pub(super) credential: Arc<Credential>,
    pub(super) body: Received,
    headers: HeaderMap,
}

impl AdmittedCommand {
    /// Admits the sender and reads the body. The provider is not checked here. The `_id` that an unassign command names is a
    /// one-way hash that does not reveal the provider, so the sink, which knows the device, applies the key's list of
    /// providers.
    pub(super) async fn read(
        context: &RequestContext,
        sender: Authenticated,
        request: Request,
    ) -> Result<Self, Refusal> {
        let (Parts { uri, headers, .. }, body) = request.into_parts();
        let credential = admission::admit(sender, Scope::DevicesWrite, None)
            .and_then(|credential| Parameters::none(&uri).map(|()| credential));
        let (credential, body) = body::discard_if_refused(credential, &headers, body).await?;
        let body = body::read(&headers, body, context.shared().limits).await?;
        Ok(Self { credential, body, headers })
    }
}

/// A command, as far as it could be parsed.
pub(super) struct Command {
    pub(super) kind: RecordKind,
    /// The device's `_id`, if it is known.
    pub(super) device: Option<Uuid>,
    /// The id in the path of the request.
    pub(super) in_path: Option<String>,
    pub(super) checked: Result<(), Unusable>,
}

/// Accepts a command and returns its receipt.
pub(super) async fn accept(
    context: &RequestContext,
    admitted: &AdmittedCommand,
    command: Command,
) -> Result<String, Refusal> {
    let (shared, topic) = (context.shared(), RawTopic::Devices);
    let AdmittedCommand { credential, body, headers } = admitted;
    let sender = Sender { credential, headers, correlation_id: &context.correlation_id };
    let hash = shared.content_key.hash(&body.bytes);
    let headers = Headers {
        device_id: command.in_path,
        providers: credential.providers().to_vec(),
        ..sender.record_headers(command.kind, &hash)
    };
    // The commands for one device go to one partition, in their order. A command without a device is partitioned by its
    // content.
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
            shared.meters.accepted.get(topic).increment(1);
            Ok(receipt)
        }
        Err(unusable) => Err(unusable.refusal(receipt)),
    }
}

/// Returns the body as text if it is JSON. The nesting depth is checked first, so that the later parse cannot recurse too
/// deeply.
pub(super) fn json(received: &Received) -> Result<&str, Malformed> {
    if !received.decoded {
        return Err(Malformed::Coding);
    }
    let text = wellformed::text(&received.bytes)?;
    wellformed::any_json(text)?;
    Ok(text)
}

/// Returns the examples of a command: an accepted body, and each refusal. `read` returns why a body is invalid.
pub(super) fn examples(
    path: &'static str,
    body: ExampleBody,
    read: impl Fn(&str) -> Option<Unusable>,
) -> EndpointExamples {
    let mut refusals = examples::refusals(Scope::DevicesWrite);
    let parameter = Parameters::none(&Uri::from_static(examples::UNKNOWN_PARAMETER));
    refusals.extend(parameter.err().map(|refusal| ("parameter", refusal)));
    refusals.extend(read(UNUSABLE).map(|unusable| ("command", unusable.refusal(examples::RECEIPT.to_owned()))));
    EndpointExamples { path: path.to_owned(), bodies: vec![body], refusals }
}
