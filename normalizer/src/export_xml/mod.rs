//! Apple's `export.xml`: what the Health app of an iPhone writes when its owner exports everything. `wire` reads its elements
//! as a stream, with `element` and `attribute`; `map` makes readings of them, with `description`. Nothing outside knows any of them.
//!
//! Apple publishes no specification; the facts are those of the DTD at the head of each export. It says that records inside a
//! `Correlation` also stand at the top level, so a correlation is no item of its own.

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
    observed::{Items, Payload},
    refusal::{Refused, refused},
};

use element::{Broken, Element};

/// Reads a body as a whole, as far as the first 100,000 items; in the 15 MiB that a body may have there are less, unless they
/// say nothing.
pub(crate) fn body(payload: Payload<'_>) -> Items {
    let mut items = Items::default();
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
            "the export has more than 100,000 elements; what stands before is read",
        ));
    }
    Items { unknown, ..items }
}

/// Reads an export as it comes, in constant memory, and hands over each item in turn until told `false`. Where the XML breaks,
/// what stands before is read, and the last thing handed over is the refusal of the rest. Returns what is unknown.
pub(crate) fn stream(
    payload: Payload<'_>,
    input: impl BufRead,
    each: &mut dyn FnMut(Result<Reading, Rejection>) -> bool,
) -> Shapes {
    let mut export = map::Export::new(payload);
    let mut item = 0_u32;
    let mut goes_on = true;
    let ended = wire::elements(input, &mut |element: Element<'_>| {
        if let Some(found) = export.take(item, element) {
            goes_on = each(found);
            item = item.saturating_add(1);
        }
        goes_on
    });
    let refusal = match ended {
        Ok(()) if goes_on && item == 0 => refused(Reason::Empty, "the export holds no element"),
        Ok(()) => return export.unknown,
        Err(broken) => refusal(broken),
    };
    each(Err(Rejection::whole(refusal)));
    export.unknown
}

fn refusal(broken: Broken) -> Refused {
    match broken {
        Broken::Syntax => refused(Reason::Malformed, "the export is not well-formed XML; what stands before is read"),
        Broken::Root => refused(Reason::UnexpectedShape, "the root element must be HealthData"),
        Broken::Encoding => refused(Reason::Malformed, "the export is in another encoding than UTF-8"),
        Broken::TooLarge => refused(Reason::TooLarge, "a tag, a text or the DTD is longer than 1 MiB"),
        Broken::TooDeep => refused(Reason::TooLarge, "the export is nested deeper than 64 levels"),
        Broken::TooWide => refused(Reason::TooLarge, "an element has more than 128 attributes"),
    }
}
