//! HealthKit's JSON (`standard-json`): an array of the samples that react-native-health emits. `wire` is the shape of a sample,
//! `map` turns samples into readings. No code outside this folder uses either.

mod map;
mod sample_type;
mod value;
mod wire;

use std::cell::LazyCell;

use catalogue::{self, Vocabulary};
use schemas::{limit::ITEMS_MAX, raw::RawRecord, rejection::Reason};
use serde_json::value::RawValue;

use crate::{
    drift::Shapes,
    json::{self, Elements, Noted},
    observed::{ItemResults, Payload},
    refusal::{Refused, refused},
};

pub(crate) use map::reading as sample;
use sample_type::type_name;
pub(crate) use wire::Sample;

const BOUND: Refused = refused(
    Reason::ValueInvalid,
    "a sample has a comparator, which HealthKit does not document; without it the number would mean something else",
);

/// Maps an array of samples, or a single sample. The index in the array is the number of the item.
pub(crate) fn json(payload: Payload<'_>) -> ItemResults {
    let mut items = ItemResults::default();
    match samples(payload.record.body) {
        Ok(samples) => {
            let by_request = LazyCell::new(|| payload.request_device());
            for (item, text) in (0_u32..).zip(samples) {
                let found = wire::sample(text)
                    .map_err(|fault| fault.refused("the sample").with_device(*by_request))
                    .and_then(|Noted { known, unknown }| {
                        items.unknown.members("", &unknown);
                        let mut is_bound = json::has_comparator(&unknown);
                        for part in known.objects.iter().flatten().filter_map(|object| wire::sample(object.get()).ok())
                        {
                            items.unknown.members("objects.", &part.unknown);
                            is_bound |= json::has_comparator(&part.unknown);
                        }
                        if is_bound {
                            return Err(BOUND.with_device(*by_request));
                        }
                        let found = map::reading(payload, item, &known, || map::device_of(payload, &known));
                        found.map_err(|why| {
                            refused_type(payload.record, &known, &mut items.unknown);
                            why.with_device(map::refused_device(payload.provider, &known, || *by_request))
                        })
                    });
                items.add(item, found, text);
            }
        }
        Err(refusal) => items.refuse_all(refusal),
    }
    items
}

/// Records the type of a refused sample if the catalogue does not know it. For a reading, a flag does this.
pub(crate) fn refused_type(record: &RawRecord<'_>, sample: &Sample<'_>, shapes: &mut Shapes) {
    if let Ok(name) = type_name(record, sample)
        && catalogue::metric_by_spelling(Vocabulary::HealthKit, name).is_none()
    {
        shapes.metric(name);
    }
}

fn samples(body: &[u8]) -> Result<Vec<&str>, Refused> {
    let text = json::text(body)?;
    if text.starts_with('{') {
        // Parsed as a whole first, so that a body that is not JSON is not refused as a sample of the wrong shape.
        return match serde_json::from_str::<&RawValue>(text) {
            Ok(sample) => Ok(vec![sample.get()]),
            Err(_) => Err(json::broken::<&RawValue>(text)),
        };
    }
    let Elements(samples) = serde_json::from_str(text).map_err(|_| json::broken::<Elements<'_>>(text))?;
    if samples.is_empty() {
        return Err(refused(Reason::Empty, "the array has no sample"));
    }
    if samples.len() > ITEMS_MAX {
        return Err(refused(Reason::TooLarge, "the array has more than 100,000 samples"));
    }
    Ok(samples.into_iter().map(RawValue::get).collect())
}
