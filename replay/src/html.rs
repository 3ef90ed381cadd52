//! The report as a page, for sign-off. It loads nothing and runs no script.

use std::fmt::Write as _;

use crate::diff::Diff;

/// Returns the page.
#[must_use]
pub fn page(diff: &Diff) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Replay report</title>\n<style>\
         body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
         table{border-collapse:collapse;width:100%}th,td{border:1px solid #888;padding:.3rem .6rem;text-align:left}\
         td.n{text-align:right}</style></head><body>\n<h1>Replay report</h1>\n",
    );
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<p>Replay {}, {}. Compared: {}. Mapping version {}, catalogue revision {}.</p>\n<table><tbody>",
        diff.replay,
        diff.state,
        escaped(&diff.scope),
        diff.mapping_version,
        diff.catalogue_revision
    );
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let counts = [
        ("raw records compared", diff.counts.records),
        ("raw records that no longer exist", diff.counts.deleted_records),
        ("raw records that the stages had not finished", diff.counts.unfinished_records),
        ("items: unchanged", diff.counts.unchanged),
        ("items: a later version is stored", diff.counts.superseded),
        ("readings: in flight", diff.counts.in_flight),
        ("readings: added", number(diff.added)),
        ("readings: changed", number(diff.changed)),
        ("readings: withdrawn", number(diff.withdrawn)),
        ("device commands: added or changed", number(diff.commands)),
        ("raw records with another outcome", number(diff.outcomes)),
        ("refused items: unchanged", diff.counts.refusals.unchanged),
    ];
    for (name, count) in counts {
        let _ = write!(page, "<tr><th>{name}</th><td class=\"n\">{count}</td></tr>");
    }
    page.push_str(
        "</tbody></table>\n<h2>Readings by code and device</h2>\n<table><thead><tr><th>difference</th><th>code</th>",
    );
    page.push_str("<th>device</th><th>readings</th><th>fields</th><th>first receipt</th></tr></thead><tbody>");
    for group in &diff.groups {
        let kind = group.kind;
        let fields: Vec<String> = group.fields.iter().map(|(field, count)| format!("{field} {count}")).collect();
        let _ = write!(
            page,
            "<tr><td>{kind}</td><td>{} {}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            escaped(group.code.as_deref().unwrap_or_default()),
            escaped(group.display.as_deref().unwrap_or_default()),
            escaped(group.device.as_deref().unwrap_or("none")),
            group.readings,
            fields.join(", "),
            escaped(&group.receipt)
        );
    }
    page.push_str("</tbody></table>\n<h2>Refused items</h2>\n<table><thead><tr><th>difference</th><th>reason</th><th>items</th></tr></thead><tbody>");
    let refusals = [
        ("newly refused", &diff.counts.refusals.newly_refused),
        ("newly accepted", &diff.counts.refusals.newly_accepted),
    ];
    for (name, reasons) in refusals {
        for (reason, count) in reasons {
            let _ = write!(page, "<tr><td>{name}</td><td>{}</td><td class=\"n\">{count}</td></tr>", escaped(reason));
        }
    }
    page.push_str(
        "</tbody></table>\n<p>Approved by: ______________________ Date: ______________</p>\n</body></html>\n",
    );
    page
}

/// Escapes a text for HTML content.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{counts::Counts, diff::Group};

    #[test]
    fn a_text_of_a_sender_is_no_markup() {
        let group = Group {
            kind: "added",
            code_system: None,
            code: Some("<script>".to_owned()),
            display: None,
            device: Some("&\"".to_owned()),
            readings: 1,
            fields: BTreeMap::new(),
            receipt: String::new(),
        };
        let diff = Diff {
            replay: 7,
            state: "compared",
            scope: "<b>".to_owned(),
            mapping_version: 1,
            catalogue_revision: 0,
            added: 1,
            changed: 0,
            withdrawn: 0,
            commands: 0,
            outcomes: 0,
            counts: Counts::default(),
            groups: vec![group],
        };
        let page = page(&diff);
        assert!(
            page.contains("Compared: &lt;b&gt;.") && page.contains("&lt;script&gt;") && page.contains("&amp;&quot;")
        );
        assert!(!page.contains("<script>"));
    }
}
