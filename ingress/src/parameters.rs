//! The query parameters of a request. A request with an unknown or invalid parameter is refused, with all its faults.

use axum::{extract::Query, http::Uri};
use schemas::{
    event::SourceName,
    format::{Defaults, Provider},
    raw::Headers,
    spelling,
};
use service::http::problem::{Fault, Location};
use utoipa::IntoParams;

use crate::refusal::Refusal;

/// The largest number of unknown parameters that are reported for one request.
const UNKNOWN_MAX: usize = 16;
const TYPE: &str = "type";
const UNIT: &str = "unit";
const DEVICE_ID: &str = "deviceId";
const DEFAULTS: &str = "defaults";

/// The query parameters that apply to all samples of a payload. The routes of a provider accept some of them.
#[derive(Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// The type of each standard-json sample that does not name one
    #[param(rename = "type")]
    pub(crate) sample_type: Option<String>,
    /// The unit of each standard-json sample that does not name one
    pub(crate) unit: Option<String>,
    /// The device of each sample or FHIR Observation that does not name one, and of all samples of an export-xml. An export names
    /// devices by their model only, so use a different deviceId for each person. A Medisanté message names its device itself
    #[param(rename = "deviceId")]
    pub(crate) device_id: Option<String>,
    /// `react-native-health`: the default units that this library documents apply to each standard-json sample without a unit.
    /// Takes precedence over the defaults of the API key. If neither is given, a sample without a unit is refused if its type
    /// has several units
    #[param(value_type = Option<String>)]
    pub(crate) defaults: Option<Defaults>,
}

impl Parameters {
    /// Returns the parameters of a provider's payloads. Medisanté messages name their types and units themselves, so `type`,
    /// `unit` and `defaults` would have no effect and are refused.
    pub(crate) const fn names(provider: Provider) -> &'static [&'static str] {
        match provider {
            Provider::Medisante => &[DEVICE_ID],
            Provider::HealthKit => &[TYPE, UNIT, DEVICE_ID, DEFAULTS],
        }
    }

    /// Reads the parameters of a payload.
    pub(crate) fn of_payload(provider: Provider, uri: &Uri) -> Result<Self, Refusal> {
        Self::read(uri, Self::names(provider))
    }

    /// Sets the parameters in the headers of the raw record.
    pub(crate) fn add_to(self, headers: &mut Headers) {
        headers.sample_type = self.sample_type;
        headers.unit = self.unit;
        headers.device_id = self.device_id;
        headers.defaults = self.defaults;
    }

    /// Checks that a request has no parameters.
    pub(crate) fn none(uri: &Uri) -> Result<(), Refusal> {
        Self::read(uri, &[]).map(drop)
    }

    fn read(uri: &Uri, known: &[&'static str]) -> Result<Self, Refusal> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let mut query = RawQuery::read(uri)?;
        let found = Self {
            sample_type: query.parse_parameter(TYPE, known, text),
            unit: query.parse_parameter(UNIT, known, text),
            device_id: query.parse_parameter(DEVICE_ID, known, text),
            defaults: query.parse_parameter(DEFAULTS, known, defaults),
        };
        query.report_unknown(known);
        if query.faults.is_empty() { Ok(found) } else { Err(Refusal::Parameters(query.faults)) }
    }
}

/// The parameters as sent, and the faults found so far.
struct RawQuery {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl RawQuery {
    fn read(uri: &Uri) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| {
            Refusal::Parameters(vec![Fault::new(None, Location::Query, "the query cannot be decoded".to_owned())])
        })?;
        Ok(Self { pairs, faults: Vec::new() })
    }

    /// Removes and parses the parameter `name` if it is one of the `known` ones.
    fn parse_parameter<T>(
        &mut self,
        name: &'static str,
        known: &[&'static str],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !known.contains(&name) {
            return None;
        }
        let values: Vec<String> = self.pairs.extract_if(.., |(sent, _)| sent == name).map(|(_, value)| value).collect();
        let read = match values.as_slice() {
            [] => return None,
            [value] => read(value),
            _ => Err("is given more than once".to_owned()),
        };
        let fault = |why: String| Fault::new(Some(name), Location::Query, format!("{name} {why}"));
        read.map_err(|why| self.faults.push(fault(why))).ok()
    }

    /// Reports the remaining parameters as unknown: ignoring them could change what the sender means.
    fn report_unknown(&mut self, known: &[&'static str]) {
        let mut names: Vec<&str> = Vec::new();
        let mut more = 0;
        for (name, _) in &self.pairs {
            if names.contains(&name.as_str()) {
                continue;
            }
            if names.len() < UNKNOWN_MAX { names.push(name) } else { more += 1 }
        }
        self.faults.extend(names.into_iter().map(|name| unknown(name, known)));
        if more > 0 {
            self.faults.push(Fault::new(None, Location::Query, format!("{more} more parameters are unknown")));
        }
    }
}

fn unknown(name: &str, known: &[&'static str]) -> Fault {
    // The name is shown only if it looks like a name: it could be misplaced content.
    let shown = spelling::is_name(name).then_some(name);
    let subject = shown.unwrap_or("a parameter whose name is not repeated here");
    let detail = match (spelling::nearest(name, known), known) {
        (Some(nearest), _) => format!("{subject} is unknown, the nearest known parameter is {nearest}"),
        (None, []) => format!("{subject} is unknown, this path has no parameters"),
        (None, known) => format!("{subject} is unknown, the known parameters are {}", known.join(", ")),
    };
    Fault::new(shown, Location::Query, detail)
}

/// Checks a parameter by the same rules as all names. Bytes that are not UTF-8 have already been replaced by U+FFFD; two
/// devices whose names differ only in such bytes would become one, so they are refused.
fn text(value: &str) -> Result<String, String> {
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err("has bytes that are not UTF-8".to_owned());
    }
    SourceName::parse(value).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

fn defaults(value: &str) -> Result<Defaults, String> {
    let words = || Defaults::ALL.map(Defaults::as_str).join(", ");
    Defaults::parse(value).ok_or_else(|| format!("is not a known value; the known values are {}", words()))
}
