//! HealthKit's own JSON (`standard-json`): an array of the samples that react-native-health emits. `wire` is their shape,
//! `map` makes readings of them; nothing outside knows either.

mod map;
mod value;
mod wire;

use schemas::{raw::RawRecord, rejection::Reason};
use serde_json::value::RawValue;

use crate::{
    json::{self, Elements, ITEMS_MAX},
    observed::{Items, Origin, Refused, refused},
};

pub(crate) use map::reading as sample;
pub(crate) use wire::Sample;

/// Reads an array of samples, or a single sample. An item's number is its index.
pub(crate) fn json(record: &RawRecord<'_>, origin: Origin) -> Items {
    let mut items = Items::default();
    match samples(record.body) {
        Ok(samples) => {
            for (item, text) in (0_u32..).zip(samples) {
                let found = wire::sample(text)
                    .ok_or(refused(Reason::UnexpectedShape, "the sample is no object, or a field has another type"))
                    .and_then(|sample| {
                        map::reading((record, origin), item, &sample, || map::device_of(record, origin, &sample))
                    });
                items.add(item, found, text);
            }
        }
        Err(refusal) => items.refuse_all(refusal),
    }
    items
}

fn samples(body: &[u8]) -> Result<Vec<&str>, Refused> {
    let text = json::text(body)?;
    if text.starts_with('{') {
        // Read as a whole, so that a body that is no JSON is not taken for a sample of another shape.
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(sample) => Ok(vec![sample.get()]),
            Err(_) => Err(json::broken(text)),
        };
    }
    let Elements(samples) = serde_json::from_str(text).map_err(|_| json::broken(text))?;
    if samples.is_empty() {
        return Err(refused(Reason::Empty, "the array has no sample"));
    }
    if samples.len() > ITEMS_MAX {
        return Err(refused(Reason::TooLarge, "the array has more than 100,000 samples"));
    }
    Ok(samples.into_iter().map(RawValue::get).collect())
}
