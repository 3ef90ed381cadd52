//! What an export says of a device.

/// `<<HKDevice: 0x282a45810>, name:Apple Watch, manufacturer:Apple, model:Watch, hardware:Watch2,4, software:4.3.1>`: what
/// Foundation prints of an `HKDevice`. A value may have commas; a comma, a space and a word with a colon begin the next.
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
    /// Reads it.
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

    /// The system's own identifier of the device, else all that is said of it. What a UDI holds of a device is its model
    /// (HKDevice.udiDeviceIdentifier is the DI portion), which two of a household may share.
    pub(super) fn id(&self) -> Option<String> {
        if let Some(id) = self.local_identifier {
            return Some(id.to_owned());
        }
        let parts = [self.name, self.manufacturer, self.model, self.hardware, self.udi];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// The value at the beginning of a text, and what stands behind it: the next key, or nothing. No byte is looked at more than a
/// few times, however many commas there are.
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

/// A word and a colon; one key has two words.
fn begins_with_key(text: &str) -> bool {
    let behind = text.trim_start_matches(|char: char| char.is_ascii_alphabetic());
    behind.len() < text.len() && behind.starts_with(':') || text.starts_with("creation date:")
}
