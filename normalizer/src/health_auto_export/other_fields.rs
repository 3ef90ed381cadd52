//! Maps the fields of an entry that no mapping reads by name to components.

use schemas::{
    event::{Coding, Component, Flag, Missing, Value},
    rejection::Reason,
};
use serde_json::value::RawValue;

use crate::{
    json::Word,
    observed::{NO_UNIT, PARTS_MAX, SourceNumber, TOO_MANY_PARTS},
    refusal::{Refused, refused},
};

use super::wire::{Entry, NAME_BYTES_MAX};

/// An array of more texts than this is not split into components.
const TEXTS_MAX: usize = 100;

/// Maps a remaining field of an entry: texts, booleans, amounts with their unit, and bare numbers as text. Series and routes
/// are not mapped. They stay in the raw record, and a component without a value shows that they exist.
pub(super) fn parts(code: Coding, raw: &RawValue, depth: u8, into: &mut Vec<Component>) -> Result<(), Refused> {
    const TEXT: Refused = refused(Reason::UnexpectedShape, "text in the entry is not valid Unicode");
    let text = raw.get();
    let value = match text.as_bytes() {
        [b'n', ..] => return Ok(()),
        [b't' | b'f', ..] => Value::Boolean(text == "true"),
        [b'"', ..] => {
            let word: Word<'_> = serde_json::from_str(text).map_err(|_| TEXT)?;
            if word.0.trim().is_empty() {
                return Ok(());
            }
            Value::Text(word.0.into_owned())
        }
        [b'{', ..] if depth < 2 => return members(&code, text, depth, into),
        [b'[', ..] => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            if elements.len() <= TEXTS_MAX && elements.iter().all(|element| element.get().starts_with('"')) {
                return elements.into_iter().try_for_each(|element| parts(code.clone(), element, depth, into));
            }
            Value::Absent(Missing::Unsupported)
        }
        [b'{', ..] => Value::Absent(Missing::Unsupported),
        _ => Value::Text(text.to_owned()),
    };
    add(Component { code: code.clone(), source_codes: vec![code], value, flags: Vec::new() }, into)
}

fn add(part: Component, into: &mut Vec<Component>) -> Result<(), Refused> {
    if into.len() >= PARTS_MAX {
        return Err(TOO_MANY_PARTS);
    }
    into.push(part);
    Ok(())
}

/// Maps `{"qty": 1, "units": "kcal"}`, `{"ascent": 10, "units": "m"}`, or an object with any other members.
fn members(code: &Coding, text: &str, depth: u8, into: &mut Vec<Component>) -> Result<(), Refused> {
    let inner = Entry::read(text)?;
    let units = inner.literal("units").ok().flatten();
    for (name, raw) in &inner.0 {
        let name = name.0.as_ref();
        let mut code = code.clone();
        if name != "qty" {
            code.code = format!("{}.{name}", code.code).into();
        }
        let is_number = raw.get().starts_with(|byte: char| byte == '-' || byte.is_ascii_digit());
        match &units {
            Some(_) if name == "units" => {}
            Some(units) if is_number => add(amount(raw.get(), Some(units), code)?, into)?,
            _ => parts(code, raw, depth + 1, into)?,
        }
    }
    Ok(())
}

/// Maps an amount that has a code of its own and no metric. It keeps its unit.
pub(super) fn amount(number: &str, unit: Option<&str>, code: Coding) -> Result<Component, Refused> {
    let unit = unit.ok_or(NO_UNIT)?;
    if unit.len() > NAME_BYTES_MAX {
        return Err(refused(Reason::IdentifierInvalid, "a unit is longer than 128 bytes"));
    }
    let mut quantity = SourceNumber { number, units: [Some(unit), None], comparator: None }.measure(None)?.quantity;
    let known = catalogue::ucum_of(unit);
    if let Some(known) = known {
        quantity.unit = known.into();
    }
    let flags = if known.is_some() { Vec::new() } else { vec![Flag::UnknownUnit] };
    Ok(Component { code: code.clone(), source_codes: vec![code], value: Value::Quantity(quantity), flags })
}
