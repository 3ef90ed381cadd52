//! Health Auto Export's JSON (`health-auto-export`), which the iOS app of that name posts to a REST API. `wire` is its shape,
//! `subject` determines what an entry is about, and `map`, `value` and `other_fields` turn entries into readings. `time` parses
//! the app's dates, `names` lists the fields that it is known to write. No code outside this folder uses any of them.
//!
//! Sources: the documentation of the app ("JSON Export Format", help.healthyapps.dev, and before 2026 the wiki of
//! Lybron/health-auto-export), and output that its users have published.

mod map;
mod names;
mod other_fields;
mod subject;
mod time;
mod value;
mod wire;

use std::cell::LazyCell;

use map::Item;

use crate::observed::{ItemResults, Payload};

/// Maps an export. The number of an item is its index among the entries of all members, in document order.
pub(crate) fn json(payload: Payload<'_>) -> ItemResults {
    let mut items = ItemResults::default();
    match wire::groups(payload.record.body, &mut items.unknown) {
        Ok(groups) => {
            let entries = groups.iter().flat_map(|group| group.entries.iter().map(move |text| (group, *text)));
            let device = LazyCell::new(|| payload.request_device());
            for (number, (group, text)) in (0_u32..).zip(entries) {
                let found = map::reading(payload, &Item { number, text, group }, &mut items.unknown);
                items.add(number, found.map_err(|refused| refused.with_device(*device)), text);
            }
        }
        Err(refusal) => items.refuse_all(refusal),
    }
    items
}
