//! Checks XML as a stream of events. A document type is refused, or skipped in formats that always begin with one. Entities
//! other than XML's five predefined ones are refused, so no entity is ever expanded.

use std::io::BufRead;

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};
use schemas::limit::{ATTRIBUTES_MAX, DEPTH_MAX};
use service::capped::Capped;

use super::malformed::Malformed;

/// FHIR's namespace.
const FHIR: &str = "http://hl7.org/fhir";

/// What is known about the root element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Root {
    /// Whether the root is in FHIR's namespace.
    pub(crate) is_fhir: bool,
    /// Whether the root is Apple's `HealthData`.
    pub(crate) is_health_data: bool,
    /// Whether the root has a child element `measurements`.
    pub(crate) has_measurements: bool,
}

/// Reads the input to its end. A token longer than `token_bytes_max` is refused before it is buffered.
pub(crate) fn check(
    input: impl BufRead,
    document_type_allowed: bool,
    token_bytes_max: usize,
) -> Result<Root, Malformed> {
    let mut reader = Reader::from_reader(Capped::new(input, token_bytes_max));
    reader.config_mut().enable_all_checks(true);
    let mut token = Vec::new();
    let (mut depth, mut roots) = (0_usize, 0_u32);
    let mut root = Root::default();
    loop {
        let at = reader.buffer_position();
        let fault = Malformed::Xml { at };
        token.clear();
        reader.get_mut().renew();
        let event = match reader.read_event_into(&mut token) {
            Ok(event) => event,
            Err(_) if reader.get_ref().exceeded() => return Err(Malformed::TokenTooLong),
            Err(_) => return Err(fault),
        };
        match event {
            Event::Start(element) => {
                attributes(&element, fault)?;
                root.examine(&element, depth);
                roots += u32::from(depth == 0);
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Malformed::TooDeep);
                }
            }
            Event::Empty(element) => {
                attributes(&element, fault)?;
                root.examine(&element, depth);
                roots += u32::from(depth == 0);
            }
            Event::End(_) => depth = depth.checked_sub(1).ok_or(fault)?,
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => return Err(fault),
            Event::CData(_) if depth == 0 => return Err(fault),
            Event::GeneralRef(reference) => {
                let known = if reference.is_char_ref() {
                    reference.resolve_char_ref().is_ok_and(|char| char.is_some())
                } else {
                    resolve_xml_entity(&reference).is_some()
                };
                if depth == 0 || !known {
                    return Err(fault);
                }
            }
            Event::Decl(declaration) => match declaration.encoding() {
                None => {}
                Some(Ok(name)) if is_utf8(&name) => {}
                Some(Ok(_)) => return Err(Malformed::XmlEncoding),
                Some(Err(_)) => return Err(fault),
            },
            Event::DocType(_) if !document_type_allowed || roots > 0 => return Err(Malformed::DocumentType),
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => return if depth == 0 && roots == 1 { Ok(root) } else { Err(fault) },
        }
        if roots > 1 {
            return Err(fault);
        }
    }
}

impl Root {
    /// Examines an element that begins at this depth.
    fn examine(&mut self, element: &BytesStart<'_>, depth: usize) {
        let (name, prefix) = (element.local_name(), element.name().prefix());
        let name: &str = name.as_ref();
        if depth == 0 {
            self.is_health_data = name == "HealthData";
            let declaration = prefix.map_or("xmlns".to_owned(), |prefix| format!("xmlns:{}", prefix.as_ref()));
            self.is_fhir = element.attributes().flatten().any(|attribute| {
                attribute.key.as_ref() == declaration
                    && attribute.normalized_value(XmlVersion::Implicit1_0).is_ok_and(|value| value == FHIR)
            });
        }
        self.has_measurements |= depth == 1 && name == "measurements";
    }
}

fn is_utf8(name: &str) -> bool {
    name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("us-ascii")
}

fn attributes(element: &BytesStart<'_>, fault: Malformed) -> Result<(), Malformed> {
    for (number, attribute) in element.attributes().enumerate() {
        if number >= ATTRIBUTES_MAX {
            return Err(Malformed::TooManyAttributes);
        }
        let attribute = attribute.map_err(|_| fault)?;
        if attribute.value.contains('<') || attribute.normalized_value(XmlVersion::Implicit1_0).is_err() {
            return Err(fault);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_well_formed_xml() {
        for text in [
            "<a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><a b='1' c=\"&lt;\">t&amp;&#233;<![CDATA[<]]></a>\n",
            "\u{feff}<a xmlns=\"urn:x\"><x:b xmlns:x='urn:y'/></a>",
        ] {
            assert_eq!(check(text.as_bytes(), false, usize::MAX), Ok(Root::default()), "{text}");
        }
    }

    #[test]
    fn refuses_xml_that_is_not_well_formed() {
        for text in [
            "",
            "t",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>t",
            "<a b=1/>",
            "<a b='1' b='2'/>",
            "<a b='<'/>",
            "<a>&x;</a>",
            "<a b='&x;'/>",
            "<a>&#xd800;</a>",
            "<a>&</a>",
            "<a",
            "<a><!-- -- --></a>",
            "<a/><![CDATA[x]]>",
        ] {
            assert!(matches!(check(text.as_bytes(), false, usize::MAX), Err(Malformed::Xml { .. })), "{text}");
        }
    }

    #[test]
    fn never_reads_a_document_type_declaration() {
        let text = "<!DOCTYPE a [<!ENTITY x \"y\">]><a/>";
        assert_eq!(check(text.as_bytes(), false, usize::MAX), Err(Malformed::DocumentType));
        assert_eq!(check(text.as_bytes(), true, usize::MAX), Ok(Root::default()));
        assert!(
            check("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>".as_bytes(), true, usize::MAX).is_err(),
            "no entity is expanded"
        );
        assert!(check("<a/><!DOCTYPE a>".as_bytes(), true, usize::MAX).is_err());
    }

    #[test]
    fn limits_depth_and_attributes_and_refuses_other_encodings() {
        let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(check(deep(DEPTH_MAX).as_bytes(), false, usize::MAX), Ok(Root::default()));
        assert_eq!(check(deep(100_000).as_bytes(), false, usize::MAX), Err(Malformed::TooDeep));
        let wide = (0..=ATTRIBUTES_MAX).map(|n| format!(" a{n}=''")).collect::<Vec<_>>().concat();
        assert_eq!(check(format!("<a{wide}/>").as_bytes(), false, usize::MAX), Err(Malformed::TooManyAttributes));
        assert_eq!(
            check("<?xml version='1.0' encoding='latin1'?><a/>".as_bytes(), false, usize::MAX),
            Err(Malformed::XmlEncoding)
        );
        for name in ["utf-8", "UTF8", "us-ascii"] {
            let text = format!("<?xml version='1.0' encoding='{name}'?><a/>");
            assert_eq!(check(text.as_bytes(), false, usize::MAX), Ok(Root::default()), "{name}");
        }
        assert_eq!(
            check("<?xml version='1.0' encoding='utf-16'?><a/>".as_bytes(), false, usize::MAX),
            Err(Malformed::XmlEncoding)
        );
    }

    #[test]
    fn refuses_a_token_above_the_limit() {
        let text = format!("<a>{}</a>", "x".repeat(100));
        assert_eq!(check(text.as_bytes(), false, 101), Ok(Root::default()));
        assert_eq!(check(text.as_bytes(), false, 50), Err(Malformed::TokenTooLong));
    }
}
