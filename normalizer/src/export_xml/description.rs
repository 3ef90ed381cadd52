//! Parses the description of a device in an export.

/// `<<HKDevice: 0x282a45810>, name:Apple Watch, manufacturer:Apple, model:Watch, hardware:Watch2,4, software:4.3.1>`: the text
/// that Foundation prints for an `HKDevice`. A value may contain commas. The next key begins after a comma and a space, and is
/// a word with a colon.
#[derive(Default)]
pub(super) struct Description<'d> {
    name: Option<&'d str>,
    pub(super) manufacturer: Option<&'d str>,
    pub(super) model: Option<&'d str>,
    pub(super) hardware: Option<&'d str>,
    local_identifier: Option<&'d str>,
    udi: Option<&'d str>,
}

impl<'d> Description<'d> {
    /// Parses a description.
    pub(super) fn read(text: &'d str) -> Self {
        let mut read = Self::default();
        let inner = text.strip_prefix("<<").and_then(|rest| rest.split_once(">, ")).map_or(text, |(_, rest)| rest);
        let mut rest = inner.strip_suffix('>').unwrap_or(inner);
        while let Some((key, after)) = rest.split_once(':') {
            let (value, next) = value(after);
            let slot = match key.trim() {
                "name" => &mut read.name,
                "manufacturer" => &mut read.manufacturer,
                "model" => &mut read.model,
                "hardware" => &mut read.hardware,
                "localIdentifier" => &mut read.local_identifier,
                "UDIDeviceIdentifier" => &mut read.udi,
                _ => &mut None,
            };
            *slot = Some(value).filter(|value| !value.is_empty());
            rest = next;
        }
        read
    }

    /// The device's local identifier, else all parts of the description together. A UDI identifies only the model
    /// (HKDevice.udiDeviceIdentifier is the DI portion), and two people of a household may own the same model.
    pub(super) fn id(&self) -> Option<String> {
        if let Some(id) = self.local_identifier {
            return Some(id.to_owned());
        }
        let parts = [self.name, self.manufacturer, self.model, self.hardware, self.udi];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Splits a text after its first value. Returns the value, and the rest, which begins with the next key or is empty. Each byte
/// is examined only a few times, however many commas there are.
fn value(text: &str) -> (&str, &str) {
    for (comma, separator) in text.match_indices(", ") {
        let (head, tail) = text.split_at(comma);
        let tail = tail.strip_prefix(separator).unwrap_or(tail).trim_start_matches(' ');
        if begins_with_key(tail) {
            return (head.trim_end_matches([',', ' ']).trim_start(), tail);
        }
    }
    (text.trim(), "")
}

/// Whether a text begins with a word and a colon. One key consists of two words.
fn begins_with_key(text: &str) -> bool {
    let behind = text.trim_start_matches(|char: char| char.is_ascii_alphabetic());
    behind.len() < text.len() && behind.starts_with(':') || text.starts_with("creation date:")
}
