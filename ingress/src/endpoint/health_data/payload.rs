//! Accepting a payload: the handler of all payload routes.

use std::sync::Arc;

use axum::{
    Json,
    extract::Request,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use schemas::{
    format::{Format, Provider},
    raw::RecordKind,
    receipt::ItemPosition,
};
use service::http::body;

use super::receipts::Receipts;
use crate::{
    accept::{self, Sender},
    admission::{self, Authenticated},
    endpoint::Id,
    keys::{Credential, Scope},
    parameters::Parameters,
    raw_log::RawAppend,
    refusal::Refusal,
    request_context::RequestContext,
    state::Shared,
    upload,
    wellformed::{self, Checked, Malformed},
};

/// The parameters by which the routes differ.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) provider: Provider,
    /// The format that the path names. If `None`, the Content-Type determines it.
    pub(super) format: Option<&'a str>,
}

/// Accepts a payload and answers the request.
pub(super) async fn answer(
    context: RequestContext,
    sender: Authenticated,
    route: Route<'_>,
    request: Request,
) -> Response {
    let accepted = accept(&context, sender, route, request).await;
    context.answer(accepted)
}

/// The result of the checks that precede reading the body.
struct Head {
    credential: Arc<Credential>,
    format: Format,
    parameters: Parameters,
}

async fn accept(
    context: &RequestContext,
    sender: Authenticated,
    route: Route<'_>,
    request: Request,
) -> Result<Response, Refusal> {
    let shared = context.shared();
    let provider = route.provider;
    let (parts, body) = request.into_parts();
    let (head, body) = body::discard_if_refused(head(sender, route, &parts), &parts.headers, body).await?;
    let sender =
        Sender { credential: &head.credential, headers: &parts.headers, correlation_id: &context.correlation_id };
    let (format, topic) = (head.format, provider.raw_topic(head.format));
    if format == Format::ExportXml {
        // An export may be several gigabytes, so it is appended while it is received. Each record of an upload gets its own
        // hash later.
        let mut headers = sender.record_headers(RecordKind::Payload(format), &shared.content_key.hash(&[]));
        head.parameters.add_to(&mut headers);
        let position = upload::receive(shared, &parts.headers, topic, headers, body).await?;
        shared.meters.accepted.get(topic).increment(1);
        return Ok(one_receipt(shared, &position));
    }
    let received = body::read(&parts.headers, body, shared.limits).await?;
    let checked =
        if received.decoded { wellformed::payload(provider, format, &received.bytes) } else { Err(Malformed::Coding) };
    let hash = shared.content_key.hash(&received.bytes);
    let mut headers = sender.record_headers(RecordKind::Payload(format), &hash);
    head.parameters.add_to(&mut headers);
    let destination = accept::partition(shared, topic, &hash)?;
    let record = RawAppend { topic, destination, headers: &headers, body: &received.bytes };
    let position = accept::append(shared, &record).await?;
    let Checked { array_items } = checked.map_err(|why| accept::malformed(shared, &position, why))?;
    shared.meters.accepted.get(topic).increment(1);
    Ok(match array_items {
        Some(count) if format.has_item_receipts(provider) => {
            Receipts::new(shared.receipt_key.clone(), position, count).into_response()
        }
        Some(_) | None => one_receipt(shared, &position),
    })
}

fn head(sender: Authenticated, route: Route<'_>, parts: &Parts) -> Result<Head, Refusal> {
    let Route { provider, format } = route;
    let credential = admission::admit(sender, Scope::HealthDataWrite, Some(provider))?;
    let format = admission::format(provider, format, &parts.headers)?;
    let mut parameters = Parameters::of_payload(provider, &parts.uri)?;
    if provider == Provider::HealthKit {
        parameters.defaults = parameters.defaults.or(credential.defaults);
    }
    Ok(Head { credential, format, parameters })
}

fn one_receipt(shared: &Shared, position: &ItemPosition) -> Response {
    Json(Id { id: shared.receipt_key.issue(position) }).into_response()
}
