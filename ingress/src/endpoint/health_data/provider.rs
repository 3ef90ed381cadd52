//! `POST /health-data/<provider>` and `POST /health-data/<provider>/{format}`: the two routes of each provider, and their
//! description in the OpenAPI document.

use axum::{Router, extract::Request, http::Uri, routing::post};
use schemas::{
    example::{Example, PAYLOADS},
    format::{Format, Provider},
};
use utoipa::{
    IntoParams as _,
    openapi::{
        Array, ContentBuilder, HttpMethod, ObjectBuilder, OpenApi, PathItem, Ref, Required, Response, ResponseBuilder,
        Type,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::SchemaType,
        security::SecurityRequirement,
    },
};

use super::payload::{self, Route};
use crate::{
    admission::Authenticated,
    endpoint::examples::{self, EndpointExamples, ExampleBody},
    keys::Scope,
    parameters::Parameters,
    refusal::Refusal,
    request_context::RequestContext,
    state::AppState,
    text_in_path::TextInPath,
    wellformed,
};

/// A body that is invalid in every format.
const WRONG_SHAPE: &str = "\"a text\"";

/// Returns the routes of all providers.
pub(crate) fn router() -> Router<AppState> {
    Provider::ALL.iter().fold(Router::new(), |router, &provider| {
        let by_content_type = async move |context: RequestContext, sender: Authenticated, request: Request| {
            payload::answer(context, sender, Route { provider, format: None }, request).await
        };
        let by_path =
            async move |context: RequestContext, sender: Authenticated, format: TextInPath, request: Request| {
                payload::answer(context, sender, Route { provider, format: Some(&format.0) }, request).await
            };
        router
            .route(&FormatSource::ContentType.path(provider), post(by_content_type))
            .route(&FormatSource::Path.path(provider), post(by_path))
    })
}

/// Adds the routes of all providers to the OpenAPI document, with their examples.
pub(in crate::endpoint) fn add_to(openapi: &mut OpenApi) {
    for &provider in Provider::ALL {
        for source in [FormatSource::ContentType, FormatSource::Path] {
            let item = PathItem::new(HttpMethod::Post, operation(provider, source));
            openapi.paths.paths.insert(source.path(provider), item);
            examples(provider, source).add_to(openapi);
        }
    }
}

/// What determines the format of a payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormatSource {
    ContentType,
    Path,
}

impl FormatSource {
    fn path(self, provider: Provider) -> String {
        let suffix = if self == Self::Path { "/{format}" } else { "" };
        format!("/health-data/{}{suffix}", provider.as_str())
    }

    /// Returns the examples of a provider that its route accepts: without those that only the path can select.
    fn examples(self, provider: Provider) -> impl Iterator<Item = &'static Example> {
        let is_accepted = move |format: Format| self == Self::Path || format.media_type().is_some();
        PAYLOADS.iter().filter(move |example| example.provider == provider && is_accepted(example.format))
    }
}

fn operation(provider: Provider, source: FormatSource) -> Operation {
    let name = provider.as_str();
    let (id, format_from) = match source {
        FormatSource::ContentType => (name.to_owned(), "the Content-Type determines"),
        FormatSource::Path => (format!("{name}_format"), "the path names"),
    };
    let format = (source == FormatSource::Path).then(|| format_in_path(provider));
    let query = Parameters::into_params(|| Some(ParameterIn::Query)).into_iter();
    let query = query.filter(|parameter| Parameters::names(provider).contains(&parameter.name.as_str()));
    OperationBuilder::new()
        .tag("Health data")
        .operation_id(Some(id))
        .summary(Some(format!("Accepts a payload of the provider {name}, in the format that {format_from}.")))
        .parameters(Some(format.into_iter().chain(query)))
        .request_body(Some(request_body(provider, source)))
        .response("200", stored(provider))
        .securities(Some(["apiKey", "bearer"].map(|scheme| SecurityRequirement::new(scheme, [""; 0]))))
        .build()
}

fn format_in_path(provider: Provider) -> Parameter {
    let names = Format::names().filter(|(_, format)| provider.formats().contains(format)).map(|(name, _)| name);
    ParameterBuilder::new()
        .name("format")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The format. json is another name of standard-json, and xml of standard-xml"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names))))
        .build()
}

fn request_body(provider: Provider, source: FormatSource) -> RequestBody {
    let selected = |format: &Format| Some(format!("{} means {}", format.media_type()?, format.as_str()));
    let description = match source {
        FormatSource::ContentType => {
            let selected: Vec<_> = provider.formats().iter().filter_map(selected).collect();
            format!("{}; text/xml means the same as application/xml", selected.join(", "))
        }
        FormatSource::Path => "The payload, in the format of the path".to_owned(),
    };
    let body = RequestBodyBuilder::new().description(Some(description)).required(Some(Required::True));
    let body = source.examples(provider).fold(body, |body, example| {
        let schema_type = if example.format.is_xml() { Type::String.into() } else { SchemaType::AnyValue };
        let schema = ObjectBuilder::new().schema_type(schema_type);
        body.content(example.content_type, ContentBuilder::new().schema(Some(schema)).build())
    });
    body.build()
}

fn stored(provider: Provider) -> Response {
    let id = Ref::from_schema_name("Id");
    let (content, receipts) = if provider.formats().iter().any(|format| format.has_item_receipts(provider)) {
        let content = ContentBuilder::new().schema(Some(Array::new(id)));
        (content, "A standard-json array returns one entry for each sample; any other body returns one object.")
    } else {
        (ContentBuilder::new().schema(Some(id)), "`_id` is its receipt.")
    };
    ResponseBuilder::new()
        .description(format!("Stored: Kafka has acknowledged the body. {receipts}"))
        .content("application/json", content.build())
        .build()
}

fn examples(provider: Provider, source: FormatSource) -> EndpointExamples {
    let bodies = source.examples(provider).map(|example| ExampleBody {
        content_type: example.content_type,
        name: example.format.as_str(),
        text: example.text,
    });
    let mut refusals = examples::refusals(Scope::HealthDataWrite);
    let parameter = Parameters::of_payload(provider, &Uri::from_static(examples::UNKNOWN_PARAMETER));
    refusals.extend(parameter.err().map(|refusal| ("parameter", refusal)));
    let shape = wellformed::payload(provider, Format::StandardJson, WRONG_SHAPE.as_bytes());
    refusals.extend(shape.err().map(|why| ("wrong-shape", examples::malformed(why))));
    refusals.push(match source {
        FormatSource::ContentType => ("content-type", Refusal::ContentType(provider)),
        FormatSource::Path => ("unknown-format", Refusal::UnknownFormat(provider)),
    });
    EndpointExamples { path: source.path(provider), bodies: bodies.collect(), refusals }
}
