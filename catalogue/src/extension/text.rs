//! The characters that the texts of a catalogue file may have.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::{ExtensionError, line_at};

/// Returns a fault for each text of a file that has a control character, or one that changes the direction of the text after it. Postgres
/// cannot store a NUL, and a reader of a report must see what is stored.
pub(super) fn faults(text: &str) -> Result<Vec<ExtensionError>, toml::de::Error> {
    let mut faults = Vec::new();
    of_table(DeTable::parse(text)?.get_ref(), text, &mut faults);
    Ok(faults)
}

fn of_table(table: &DeTable<'_>, text: &str, faults: &mut Vec<ExtensionError>) {
    for (key, value) in table {
        check(key.get_ref(), key.span().start, text, faults);
        of_value(value, text, faults);
    }
}

fn of_value(value: &Spanned<DeValue<'_>>, text: &str, faults: &mut Vec<ExtensionError>) {
    match value.get_ref() {
        DeValue::String(found) => check(found, value.span().start, text, faults),
        DeValue::Array(values) => values.iter().for_each(|value| of_value(value, text, faults)),
        DeValue::Table(table) => of_table(table, text, faults),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

fn check(found: &str, at: usize, text: &str, faults: &mut Vec<ExtensionError>) {
    let is_unusable =
        |char: char| char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let Some(char) = found.chars().find(|char| is_unusable(*char)) else { return };
    let fault = format!("a text has the control character U+{:04X}", u32::from(char));
    faults.push(ExtensionError::new(
        Some(line_at(text, at)),
        "",
        fault,
        "leave it out, and write the text in one line",
    ));
}
