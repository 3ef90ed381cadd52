//! What the description shows beside the endpoints' own words: example bodies, and each answer that refuses a request. The examples
//! of answers are made by the code that answers.

use std::collections::BTreeMap;

use axum::http::Uri;
use schemas::{
    command, example,
    format::{Format, Provider},
};
use utoipa::{
    Modify,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
        example::{Example, ExampleBuilder},
        path::Operation,
        schema::AdditionalProperties,
    },
};

use super::command::Unusable;
use crate::{
    config::BODY_BYTES_MAX_DEFAULT,
    keys::Scope,
    parameters::Parameters,
    refusal::Refusal,
    wellformed::{self, Malformed},
};

/// The receipt in the examples.
const RECEIPT: &str = "AAAAAAAABwAAAAAAAAAqAAAAAEbW3kqFzUc1";
/// Mistakes, whose answers are the examples.
const UNKNOWN_PARAMETER: &str = "/?devceId=watch-1";
const NOT_JSON: &str = "{\"deviceId\": \"watch-1\",}";
const WRONG_SHAPE: &str = "\"a text\"";
const UNUSABLE_COMMAND: &str =
    "{\"deviceId\": \"watch-1\", \"name\": \"Watch\", \"effectiveTo\": \"2025-06-01T08:00:00Z\"}";

/// Adds the examples and the refusals to each operation.
pub(super) struct Documented;

impl Modify for Documented {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (path, item) in &mut openapi.paths.paths {
            let Some(operation) = &mut item.post else { continue };
            let endpoint = Endpoint::at(path);
            endpoint.add_examples(operation);
            for (status, response) in endpoint.refusals() {
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
        // An unknown member is refused.
        for name in ["AssignBody", "UnassignBody"] {
            if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
                body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

/// What tells the refusals and the examples of one operation from those of another.
enum Endpoint {
    /// Payloads of a provider, and whether the path names the format.
    Payload(Provider, bool),
    Assign,
    Unassign,
}

impl Endpoint {
    fn at(path: &str) -> Self {
        match path {
            "/devices/assign" => Self::Assign,
            "/devices/{id}/unassign" => Self::Unassign,
            payload if payload.contains(Provider::Medisante.as_str()) => {
                Self::Payload(Provider::Medisante, payload.ends_with("{format}"))
            }
            payload => Self::Payload(Provider::HealthKit, payload.ends_with("{format}")),
        }
    }

    fn add_examples(&self, operation: &mut Operation) {
        let Some(body) = &mut operation.request_body else { return };
        let mut add = |content_type: &str, name: &str, text: &str| {
            let Some(content) = body.content.get_mut(content_type) else { return };
            // JSON is shown as JSON, XML as its text.
            let value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            content.examples.insert(name.to_owned(), RefOr::T(ExampleBuilder::new().value(Some(value)).build()));
        };
        match self {
            Self::Assign => add("application/json", "assign", example::ASSIGN),
            Self::Unassign => add("application/json", "unassign", example::UNASSIGN),
            Self::Payload(provider, has_format) => {
                for example in example::PAYLOADS.iter().filter(|example| example.provider == *provider) {
                    // No Content-Type stands for this format: only a path can name it.
                    if *has_format || example.format != Format::HealthAutoExport {
                        add(example.content_type, example.format.as_str(), example.text);
                    }
                }
            }
        }
    }

    /// A response for each status, with an example for each kind of problem.
    fn refusals(&self) -> BTreeMap<u16, Response> {
        let mut examples: BTreeMap<u16, Vec<(String, RefOr<Example>)>> = BTreeMap::new();
        for (name, refusal) in self.examples() {
            let problem = refusal.problem();
            let example =
                ExampleBuilder::new().summary(problem.title).value(serde_json::to_value(&problem).ok()).build();
            examples.entry(problem.status).or_default().push((name.to_owned(), RefOr::T(example)));
        }
        examples.into_iter().map(|(status, examples)| (status, response(status, examples))).collect()
    }

    /// Each refusal that the operation can answer with, by a name of its own. A test of the router provokes each of them.
    fn examples(&self) -> Vec<(&'static str, Refusal)> {
        let scope = match self {
            Self::Payload(..) => Scope::HealthDataWrite,
            Self::Assign | Self::Unassign => Scope::DevicesWrite,
        };
        let mut examples = vec![
            ("subject-header", Refusal::SubjectHeader),
            ("body-broken-off", Refusal::BodyBrokenOff),
            ("key-missing", Refusal::KeyMissing),
            ("key-invalid", Refusal::KeyInvalid),
            ("forbidden", Refusal::Forbidden(scope)),
            ("method-not-allowed", Refusal::Method),
            ("body-timeout", Refusal::BodyTimeout),
            ("too-large", Refusal::TooLarge(BODY_BYTES_MAX_DEFAULT)),
            ("content-coding", Refusal::ContentCoding),
            ("unavailable", Refusal::Unavailable),
        ];
        examples.extend(wellformed::any_json(NOT_JSON).err().map(|why| ("malformed", malformed(why))));
        let uri = Uri::from_static(UNKNOWN_PARAMETER);
        let parameter = match self {
            Self::Payload(provider, _) => Parameters::of_payload(*provider, &uri).err(),
            Self::Assign | Self::Unassign => Parameters::none(&uri).err(),
        };
        examples.extend(parameter.map(|refusal| ("parameter", refusal)));
        match self {
            Self::Payload(provider, has_format) => {
                let shape = wellformed::payload(*provider, Format::StandardJson, WRONG_SHAPE.as_bytes());
                examples.extend(shape.err().map(|why| ("wrong-shape", malformed(why))));
                examples.push(if *has_format {
                    ("unknown-format", Refusal::UnknownFormat(*provider))
                } else {
                    ("content-type", Refusal::ContentType(*provider))
                });
            }
            Self::Assign => examples.extend(command::assign(UNUSABLE_COMMAND).err().map(command_example)),
            Self::Unassign => examples.extend(command::unassign(UNUSABLE_COMMAND).err().map(command_example)),
        }
        examples
    }
}

fn malformed(why: Malformed) -> Refusal {
    Refusal::Malformed(why, RECEIPT.to_owned())
}

fn command_example(refused: command::Refused) -> (&'static str, Refusal) {
    ("command", Unusable::from(refused).refusal(RECEIPT.to_owned()))
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

/// The name of a response that is the same for all operations.
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
            "The request cannot be used; `errors` names each fault. A body that was read is kept all the same, and the answer has its receipt."
        }
        401 => "The API key is missing or not valid.",
        403 => "The API key is not allowed to do this.",
        404 => "The path names a format that the provider does not send.",
        405 => "The method is not POST.",
        408 => "The body did not arrive in time.",
        413 => "The body is larger than the limit, which the operator sets. For export-xml it is larger.",
        415 => "The content coding is not supported, or the Content-Type does not decide the format.",
        _ => "Kafka did not acknowledge the body in time. Try again after Retry-After.",
    }
}

/// The header that belongs to the status.
const fn header(status: u16) -> Option<(&'static str, &'static str)> {
    match status {
        401 => Some(("WWW-Authenticate", "`Bearer realm=\"device-manager\"`")),
        405 => Some(("Allow", "The methods of this path.")),
        503 => Some(("Retry-After", "The seconds to wait.")),
        _ => None,
    }
}
