//! Apple's `export.xml`, which the Health app of an iPhone writes when its owner exports all health data. `wire` reads its
//! elements as a stream, with `element` and `attribute`. `map` turns elements into readings, with `description`. No code
//! outside this folder uses any of them.
//!
//! Apple publishes no specification; the facts are those of the DTD at the start of each export. The DTD says that records
//! inside a `Correlation` also occur at the top level, so a correlation is not an item of its own.

mod attribute;
mod description;
mod element;
mod map;
mod wire;

use std::io::BufRead;

use schemas::{event::Reading, limit::ITEMS_MAX, rejection::Reason};

use crate::{
    drift::Shapes,
    normalized::Rejection,
    observed::{ItemResults, Payload},
    refusal::{Refused, refused},
};

use element::{Broken, Element};

/// Maps a whole body, up to 100,000 items. A body may have 15 MiB, in which there are fewer items unless their elements are
/// nearly empty.
pub(crate) fn body(payload: Payload<'_>) -> ItemResults {
    let mut items = ItemResults::default();
    let (mut taken, mut is_too_long) = (0, false);
    let unknown = stream(payload, payload.record.body, &mut |found| {
        match found {
            Err(whole) if whole.item.is_none() => items.rejections.push(whole),
            _ if taken == ITEMS_MAX => is_too_long = true,
            Ok(reading) => {
                taken += 1;
                items.readings.push(reading);
            }
            Err(rejection) => {
                taken += 1;
                rejection.add_to(&mut items.rejections);
            }
        }
        !is_too_long
    });
    if is_too_long {
        items.refuse_all(refused(
            Reason::TooLarge,
            "the export has more than 100,000 elements; the first 100,000 are read",
        ));
    }
    ItemResults { unknown, ..items }
}

/// Maps an export as it is read, in constant memory, and passes each item to `each` until that returns `false`. If the XML is
/// not well-formed, the items before the error are mapped, and the last call passes the refusal of the rest. Returns the shapes
/// of what the mapping does not know.
pub(crate) fn stream(
    payload: Payload<'_>,
    input: impl BufRead,
    each: &mut dyn FnMut(Result<Reading, Rejection>) -> bool,
) -> Shapes {
    let mut export = map::Export::new(payload);
    let mut item = 0_u32;
    let mut goes_on = true;
    let ended = wire::elements(input, &mut |element: Element<'_>| {
        if let Some(found) = export.map_element(item, element) {
            goes_on = each(found);
            item = item.saturating_add(1);
        }
        goes_on
    });
    let refusal = match ended {
        Ok(()) if goes_on && item == 0 => refused(Reason::Empty, "the export contains no elements"),
        Ok(()) => return export.unknown,
        Err(broken) => refusal(broken),
    };
    each(Err(Rejection::whole(refusal)));
    export.unknown
}

fn refusal(broken: Broken) -> Refused {
    match broken {
        Broken::Syntax => {
            refused(Reason::Malformed, "the export is not well-formed XML; the elements before the error are read")
        }
        Broken::Root => refused(Reason::UnexpectedShape, "the root element must be HealthData"),
        Broken::Encoding => refused(Reason::Malformed, "the export declares an encoding other than UTF-8"),
        Broken::TooLarge => refused(Reason::TooLarge, "a tag, a text or the DTD is longer than 1 MiB"),
        Broken::TooDeep => refused(Reason::TooLarge, "the export is nested deeper than 64 levels"),
        Broken::TooWide => refused(Reason::TooLarge, "an element has more than 128 attributes"),
    }
}
