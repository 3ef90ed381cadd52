//! Health Auto Export's JSON (`health-auto-export`): what the iOS app of that name posts to a REST address. `wire` is its
//! shape, `subject` says what an
//! entry is about, `map`, `value` and `other_fields` make readings of it, `time` reads its dates, `names` are those it is known to
//! write; nothing outside knows any of them.
//!
//! Facts: the app's documentation ("JSON Export Format", help.healthyapps.dev, and before 2026 the wiki of
//! Lybron/health-auto-export), and what its users publish of its output.

mod map;
mod names;
mod other_fields;
mod subject;
mod time;
mod value;
mod wire;

use std::cell::LazyCell;

use map::Item;

use crate::observed::{Items, Payload};

/// Reads an export. An item's number counts the entries of all members in the order of the document.
pub(crate) fn json(payload: Payload<'_>) -> Items {
    let mut items = Items::default();
    match wire::groups(payload.record.body, &mut items.unknown) {
        Ok(groups) => {
            let entries = groups.iter().flat_map(|group| group.entries.iter().map(move |text| (group, *text)));
            let device = LazyCell::new(|| payload.request_device());
            for (number, (group, text)) in (0_u32..).zip(entries) {
                let found = map::reading(payload, &Item { number, text, group }, &mut items.unknown);
                items.add(number, found.map_err(|refused| refused.of(*device)), text);
            }
        }
        Err(refusal) => items.refuse_all(refusal),
    }
    items
}
