//! The report as a page, for sign-off. It loads nothing and runs no script.

use std::fmt::Write as _;

use crate::diff::{ChangeKind, Diff};

/// Returns the page. `scope` describes what was compared.
#[must_use]
pub fn page(diff: &Diff, scope: &str) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Replay report</title>\n<style>\
         body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\
         table{border-collapse:collapse;width:100%}th,td{border:1px solid #888;padding:.3rem .6rem;text-align:left}\
         td.n{text-align:right}</style></head><body>\n<h1>Replay report</h1>\n",
    );
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<p>Compared: {}. Mapping version {}. Nothing was changed.</p>\n<table><tbody>",
        escaped(scope),
        diff.mapping_version
    );
    let counts = [
        ("raw records compared", diff.records),
        ("raw records that no longer exist", diff.deleted_records),
        ("raw records that the stages have not finished", diff.unfinished_records),
        ("items: unchanged", diff.unchanged),
        ("items: a later version is stored", diff.superseded),
        ("items: in flight", diff.in_flight),
        ("readings: added", diff.count(ChangeKind::Added) as u64),
        ("readings: changed", diff.count(ChangeKind::Changed) as u64),
        ("readings: withdrawn", diff.count(ChangeKind::Withdrawn) as u64),
        ("refused items: unchanged", diff.refusals.unchanged),
    ];
    for (name, count) in counts {
        let _ = write!(page, "<tr><th>{name}</th><td class=\"n\">{count}</td></tr>");
    }
    page.push_str(
        "</tbody></table>\n<h2>Readings by code and device</h2>\n<table><thead><tr><th>difference</th><th>code</th>",
    );
    page.push_str("<th>device</th><th>readings</th><th>fields</th><th>first receipt</th></tr></thead><tbody>");
    for group in &diff.groups {
        let kind = group.kind.as_str();
        let fields: Vec<String> = group.fields.iter().map(|(field, count)| format!("{field:?} {count}")).collect();
        let _ = write!(
            page,
            "<tr><td>{kind}</td><td>{} {}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&group.code),
            escaped(group.display.as_deref().unwrap_or_default()),
            escaped(group.device.as_deref().unwrap_or("none")),
            group.readings,
            fields.join(", "),
            escaped(&group.receipt)
        );
    }
    page.push_str("</tbody></table>\n<h2>Refused items</h2>\n<table><thead><tr><th>difference</th><th>reason</th><th>items</th></tr></thead><tbody>");
    let refusals = [("newly refused", &diff.refusals.newly_refused), ("newly accepted", &diff.refusals.newly_accepted)];
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
    use super::*;

    #[test]
    fn a_text_of_a_sender_is_no_markup() {
        assert!(page(&Diff::default(), "<script>&\"").contains("Compared: &lt;script&gt;&amp;&quot;."));
    }
}
