//! Health Auto Export's JSON (`health-auto-export`): what the iOS app of that name posts to a REST address. `wire` is its
//! shape, `map`, `value` and `rest` make readings of it, `time` reads its dates, `names` are those it is known to write; nothing outside knows any of them.
//!
//! Facts: the app's documentation ("JSON Export Format", help.healthyapps.dev, and before 2026 the wiki of
//! Lybron/health-auto-export), and what its users publish of its output.

mod map;
mod names;
mod rest;
mod time;
mod value;
mod wire;

use std::cell::LazyCell;

use schemas::raw::RawRecord;

use crate::observed::{Items, Origin, request_device};

/// Reads an export. An item's number counts the entries of all members in the order of the document.
pub(crate) fn json(record: &RawRecord<'_>, origin: Origin) -> Items {
    let mut items = Items::default();
    match wire::groups(record.body, &mut items.unknown) {
        Ok(groups) => {
            let entries = groups.iter().flat_map(|group| group.entries.iter().map(move |text| (group, *text)));
            let device = LazyCell::new(|| request_device(record, origin));
            for (item, (group, text)) in (0_u32..).zip(entries) {
                let found = map::reading((record, origin), (item, text), group, &mut items.unknown);
                items.add(item, found.map_err(|refused| refused.of(*device)), text);
            }
        }
        Err(refusal) => items.refuse_all(refusal),
    }
    items
}
