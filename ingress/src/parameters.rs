//! The query of a request: every parameter is known and usable, or the request is refused with all that is wrong.

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

/// More unknown parameters of one request are not reported.
const UNKNOWN_MAX: usize = 16;
const TYPE: &str = "type";
const UNIT: &str = "unit";
const DEVICE_ID: &str = "deviceId";
const DEFAULTS: &str = "defaults";

/// The query parameters that hold for all samples of a payload, in the words of HealthKit's routes, which have them all.
#[derive(Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Parameters {
    /// The type of each standard-json sample that names none
    #[param(rename = "type")]
    pub(crate) sample_type: Option<String>,
    /// The unit of each standard-json sample that names none
    pub(crate) unit: Option<String>,
    /// The device of each sample that names none, and of all samples of an export-xml. An export names devices by their model only, so use one deviceId for each person
    #[param(rename = "deviceId")]
    pub(crate) device_id: Option<String>,
    /// `react-native-health`: the documented default units of this library hold for each standard-json sample without a unit. Takes precedence over the default of the API key. Without both, a sample without a unit is refused if its type has several units
    #[param(value_type = Option<String>)]
    pub(crate) defaults: Option<Defaults>,
}

impl Parameters {
    /// Of a payload. A message of Medisanté names its types and units itself, so that these parameters would be without effect.
    pub(crate) fn of_payload(provider: Provider, uri: &Uri) -> Result<Self, Refusal> {
        match provider {
            Provider::Medisante => Self::read(uri, &[DEVICE_ID]),
            Provider::HealthKit => Self::read(uri, &[TYPE, UNIT, DEVICE_ID, DEFAULTS]),
        }
    }

    /// Puts them into the headers of the raw record.
    pub(crate) fn add_to(self, headers: &mut Headers) {
        headers.sample_type = self.sample_type;
        headers.unit = self.unit;
        headers.device_id = self.device_id;
        headers.defaults = self.defaults;
    }

    /// Of a request that has none.
    pub(crate) fn none(uri: &Uri) -> Result<(), Refusal> {
        Self::read(uri, &[]).map(drop)
    }

    fn read(uri: &Uri, known: &[&'static str]) -> Result<Self, Refusal> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let mut query = Sent::read(uri)?;
        let found = Self {
            sample_type: query.take(TYPE, known, text),
            unit: query.take(UNIT, known, text),
            device_id: query.take(DEVICE_ID, known, text),
            defaults: query.take(DEFAULTS, known, defaults),
        };
        query.rest_is_unknown(known);
        if query.faults.is_empty() { Ok(found) } else { Err(Refusal::Parameters(query.faults)) }
    }
}

/// The parameters as they were sent, and what is wrong with those that were looked at.
struct Sent {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Sent {
    fn read(uri: &Uri) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| {
            Refusal::Parameters(vec![Fault::new(None, Location::Query, "the query cannot be read".to_owned())])
        })?;
        Ok(Self { pairs, faults: Vec::new() })
    }

    /// Takes a parameter out, if it is one of the known ones.
    fn take<T>(
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

    /// Reports what was not taken: it would be left out of what the sender means.
    fn rest_is_unknown(&mut self, known: &[&'static str]) {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.pairs {
            if names.len() < UNKNOWN_MAX && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        self.faults.extend(names.into_iter().map(|name| unknown(name, known)));
    }
}

fn unknown(name: &str, known: &[&'static str]) -> Fault {
    // The parameter may be content in a wrong place.
    let shown = spelling::is_name(name).then_some(name);
    let subject = shown.unwrap_or("a parameter whose name is not repeated here");
    let detail = match (spelling::nearest(name, known), known) {
        (Some(nearest), _) => format!("{subject} is unknown, the nearest known parameter is {nearest}"),
        (None, []) => format!("{subject} is unknown, this path has no parameters"),
        (None, known) => format!("{subject} is unknown, known are {}", known.join(", ")),
    };
    Fault::new(shown, Location::Query, detail)
}

/// The rules of all names hold for the parameters too. Bytes that are no UTF-8 have been replaced by now: two devices whose names
/// differ in such bytes would be one.
fn text(value: &str) -> Result<String, String> {
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err("has bytes that are not UTF-8".to_owned());
    }
    SourceName::parse(value).map(|name| name.as_str().to_owned()).map_err(|error| error.to_string())
}

fn defaults(value: &str) -> Result<Defaults, String> {
    let words = || Defaults::ALL.map(Defaults::as_str).join(", ");
    Defaults::parse(value).ok_or_else(|| format!("is not a known word; known is {}", words()))
}
