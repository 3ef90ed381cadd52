//! The examples in the OpenAPI document: request bodies, and each response that refuses a request. The example responses are
//! produced by the code that produces the real ones.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
    example::{Example, ExampleBuilder},
    path::Operation,
};

use crate::{
    config::BODY_BYTES_MAX_DEFAULT,
    keys::Scope,
    refusal::Refusal,
    wellformed::{self, Malformed},
};

/// The receipt in the examples.
pub(super) const RECEIPT: &str = "AAAAAAAABwAAAAAAAAAqAAAAAEbW3kqFzUc1";
/// A URL with a mistake; the response to it is an example.
pub(super) const UNKNOWN_PARAMETER: &str = "/?devceId=watch-1";
const NOT_JSON: &str = "{\"deviceId\": \"watch-1\",}";

/// The examples of one endpoint.
pub(super) struct EndpointExamples {
    pub(super) path: String,
    pub(super) bodies: Vec<ExampleBody>,
    /// Each refusal that the endpoint can return, under a unique name. A test of the router provokes each of them.
    pub(super) refusals: Vec<(&'static str, Refusal)>,
}

/// An example of an accepted body.
pub(super) struct ExampleBody {
    pub(super) content_type: &'static str,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// Returns the refusals that all endpoints with a body share.
pub(super) fn refusals(scope: Scope) -> Vec<(&'static str, Refusal)> {
    let mut refusals = vec![
        ("subject-header", Refusal::SubjectHeader),
        ("body-broken-off", Refusal::BodyIncomplete),
        ("key-missing", Refusal::KeyMissing),
        ("key-invalid", Refusal::KeyInvalid),
        ("forbidden", Refusal::Forbidden(scope)),
        ("method-not-allowed", Refusal::Method),
        ("body-timeout", Refusal::BodyTimeout),
        ("too-large", Refusal::TooLarge(BODY_BYTES_MAX_DEFAULT)),
        ("content-coding", Refusal::ContentCoding),
        ("unavailable", Refusal::Unavailable),
    ];
    refusals.extend(wellformed::any_json(NOT_JSON).err().map(|why| ("malformed", malformed(why))));
    refusals
}

/// Returns the refusal of a payload that was stored with the example receipt.
pub(super) fn malformed(why: Malformed) -> Refusal {
    Refusal::Malformed(why, RECEIPT.to_owned())
}

impl EndpointExamples {
    /// Adds the examples and the refusals to the endpoint's operation.
    pub(super) fn add_to(self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let Some(operation) = openapi.paths.paths.get_mut(&self.path).and_then(|item| item.post.as_mut()) else {
            return;
        };
        add_bodies(&self.bodies, operation);
        add_refusals(self.refusals, operation, components);
    }
}

fn add_bodies(bodies: &[ExampleBody], operation: &mut Operation) {
    let Some(body) = &mut operation.request_body else { return };
    for ExampleBody { content_type, name, text } in bodies {
        let Some(content) = body.content.get_mut(*content_type) else { continue };
        // JSON is shown as JSON, and XML as a string.
        let value = serde_json::from_str(text).unwrap_or_else(|_| (*text).into());
        content.examples.insert((*name).to_owned(), RefOr::T(ExampleBuilder::new().value(Some(value)).build()));
    }
}

/// Adds a response for each status, with an example for each problem type.
fn add_refusals(refusals: Vec<(&'static str, Refusal)>, operation: &mut Operation, components: &mut Components) {
    let mut examples: BTreeMap<u16, Vec<(String, RefOr<Example>)>> = BTreeMap::new();
    for (name, refusal) in refusals {
        let kind = refusal.problem_type();
        let example =
            ExampleBuilder::new().summary(kind.title).value(serde_json::to_value(refusal.problem()).ok()).build();
        examples.entry(kind.status.as_u16()).or_default().push((name.to_owned(), RefOr::T(example)));
    }
    for (status, examples) in examples {
        let response = response(status, examples);
        let response = match shared(status) {
            Some(name) => {
                components.responses.insert(name.to_owned(), RefOr::T(response));
                RefOr::Ref(Ref::from_response_name(name))
            }
            None => RefOr::T(response),
        };
        operation.responses.responses.insert(status.to_string(), response);
    }
}

fn response(status: u16, examples: Vec<(String, RefOr<Example>)>) -> Response {
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
    let response = ResponseBuilder::new().description(description(status)).content("application/problem+json", content);
    match header(status) {
        Some((name, description)) => {
            let text = ObjectBuilder::new().schema_type(Type::String).build();
            response.header(name, HeaderBuilder::new().schema(text).description(Some(description)).build()).build()
        }
        None => response.build(),
    }
}

/// Returns the name of a response that is the same for all operations.
const fn shared(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("Unauthorized"),
        405 => Some("MethodNotAllowed"),
        408 => Some("RequestTimeout"),
        413 => Some("ContentTooLarge"),
        503 => Some("ServiceUnavailable"),
        _ => None,
    }
}

const fn description(status: u16) -> &'static str {
    match status {
        400 => {
            "The request is invalid. `errors` lists each fault of a command and of the query, and the first fault of a payload. A body that was read is stored, and the response has its receipt."
        }
        401 => "The API key is missing or invalid.",
        403 => "The API key is not allowed to do this.",
        404 => "The path names a format that is not accepted from the provider.",
        405 => "The method is not POST.",
        408 => "The body did not arrive in time.",
        413 => {
            "The body is larger than the limit that the operator has set. The limit for export-xml is a different, larger one."
        }
        415 => "The content coding is not supported, or the Content-Type does not determine the format.",
        _ => "Kafka did not acknowledge the body in time. Try again after Retry-After.",
    }
}

/// Returns the header that a response with this status has, and its description.
const fn header(status: u16) -> Option<(&'static str, &'static str)> {
    match status {
        401 => Some(("WWW-Authenticate", "`Bearer realm=\"device-manager\"`")),
        405 => Some(("Allow", "The methods of this path.")),
        503 => Some(("Retry-After", "The number of seconds to wait.")),
        _ => None,
    }
}
