//! What is the same in XML as in JSON, and what XML alone can do to a reader.

use normalizer::{Normalized, json_lines};
use serde_json::Value;

/// The same readings but for the format in their provenance, and the same refusals but for the words on the syntax.
pub(crate) fn assert_same(case: &str, json: &Normalized, xml: &Normalized) {
    assert_eq!(comparable(json), comparable(xml), "{case}");
    let words = |found: &Normalized| -> Vec<Vec<u8>> {
        found.documents.iter().map(|document| document.content.clone()).collect()
    };
    assert!(words(json) == words(xml), "{case}: other documents");
}

fn comparable(found: &Normalized) -> Vec<Value> {
    let mut lines: Vec<Value> = json_lines(found).collect();
    for line in &mut lines {
        for (event, of_syntax) in [("/reading/provenance", "format"), ("/rejection", "detail")] {
            if let Some(Value::Object(part)) = line.pointer_mut(event) {
                assert!(part.remove(of_syntax).is_some());
            }
        }
    }
    lines
}
