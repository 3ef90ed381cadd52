//! What XML and JSON have in common, and attacks that are possible only in XML.

use normalizer::{Normalized, Rejection, json_lines};
use proptest::prelude::*;
use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
    rejection::Reason,
};
use serde_json::Value;

use crate::{
    record::{self, headers},
    shape::detail,
};

/// Asserts that the readings are the same except for the format in the provenance, and the rejections except for the detail.
pub(crate) fn assert_same(case: &str, json: &Normalized, xml: &Normalized) {
    assert_eq!(comparable(json), comparable(xml), "{case}");
    let words = |found: &Normalized| -> Vec<Vec<u8>> {
        found.documents.iter().map(|document| document.content.clone()).collect()
    };
    assert!(words(json) == words(xml), "{case}: the documents differ");
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

fn normalized(format: Format, body: &[u8]) -> Normalized {
    record::normalized(RawTopic::Medisante, headers(RecordKind::Payload(format), "xml"), body, 0)
}

const FORMATS: [Format; 2] = [Format::FhirXml, Format::StandardXml];

/// Why a body is refused as a whole. Both formats must give the same reason.
fn refusal(body: &[u8]) -> (Reason, &'static str) {
    let [one, other] = FORMATS.map(|format| {
        let found = normalized(format, body);
        assert_eq!((found.readings.len(), found.rejections.len()), (0, 1));
        assert!(found.rejections[0].item.is_none());
        (found.rejections[0].reason, detail(&found.rejections[0]))
    });
    assert_eq!(one, other);
    one
}

const NOT_XML: &str = "the body is not well-formed XML";
const ENTITY: &str = "a reference is neither to one of XML's five entities nor to a character that XML allows";
const CHARACTER: &str = "the body has a character that XML does not allow";
const ENCODING: &str = "the XML declares an encoding other than UTF-8";
const DOCUMENT_TYPE: &str = "the body has a document type declaration, which is not accepted";
const PREFIX: &str = "a namespace prefix is not declared";
const DECLARATION: &str = "a namespace is declared in a way that XML does not allow";

#[test]
fn malformed_xml_is_refused_with_its_reason() {
    for (body, detail) in [
        ("", NOT_XML),
        ("text", NOT_XML),
        ("<a>", NOT_XML),
        ("</a>", NOT_XML),
        ("<a></b>", NOT_XML),
        ("<a><b></a></b>", NOT_XML),
        ("<a", NOT_XML),
        ("<a/><b/>", NOT_XML),
        ("<a/>text", NOT_XML),
        ("<a/><![CDATA[text]]>", NOT_XML),
        ("&amp;<a/>", NOT_XML),
        ("<a>]]></a>", NOT_XML),
        ("<a><!-- -- --></a>", NOT_XML),
        ("<a b=1/>", NOT_XML),
        ("<a b/>", NOT_XML),
        ("<a b='<'/>", NOT_XML),
        ("<a b='1' b='2'/>", NOT_XML),
        ("<a xmlns:p='urn:n' xmlns:q='urn:n' p:b='1' q:b='2'/>", NOT_XML),
        ("<a xmlns='urn:n' xmlns='urn:m'/>", NOT_XML),
        ("<1a/>", NOT_XML),
        ("<a:/>", NOT_XML),
        ("<:a/>", NOT_XML),
        ("<a:b:c xmlns:a='urn:n'/>", NOT_XML),
        ("<a><?xml version='1.0'?></a>", NOT_XML),
        (" <?xml version='1.0'?><a/>", NOT_XML),
        ("<a><?XML x?></a>", NOT_XML),
        ("<a>&nbsp;</a>", ENTITY),
        ("<a b='&nbsp;'/>", ENTITY),
        ("<a>&#xd800;</a>", ENTITY),
        ("<a>&#0;</a>", ENTITY),
        ("<a>&#1;</a>", ENTITY),
        ("<a b='&#x1f;'/>", ENTITY),
        ("<a>&#xffff;</a>", ENTITY),
        ("<a b='&#xfffe;'/>", ENTITY),
        ("<a>&#x110000;</a>", ENTITY),
        ("<a b='&#;'/>", ENTITY),
        ("<a>&</a>", NOT_XML),
        ("<a b='&'/>", ENTITY),
        ("<a>\u{1}</a>", CHARACTER),
        ("<a b='\u{0}'/>", CHARACTER),
        ("<a><!-- \u{1b} --></a>", CHARACTER),
        ("<a>\u{ffff}</a>", CHARACTER),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", ENCODING),
        ("<?xml version='1.0' encoding='UTF-16'?><a/>", ENCODING),
        ("<!DOCTYPE a><a/>", DOCUMENT_TYPE),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", DOCUMENT_TYPE),
        ("<!DOCTYPE a SYSTEM 'http://attacker.example/x'><a/>", DOCUMENT_TYPE),
        ("<a/><!DOCTYPE a>", DOCUMENT_TYPE),
        ("<p:a/>", PREFIX),
        ("<a p:b='1'/>", PREFIX),
        ("<a><b xmlns:p='urn:n'/><p:c/></a>", PREFIX),
        ("<a xmlns:p=''/>", DECLARATION),
        ("<a xmlns:xml='urn:n'/>", DECLARATION),
        ("<a xmlns:xmlns='urn:n'/>", DECLARATION),
        ("<a xmlns='http://www.w3.org/2000/xmlns/'/>", DECLARATION),
    ] {
        assert_eq!(refusal(body.as_bytes()), (Reason::Malformed, detail), "{body}");
    }
    let utf_16: Vec<u8> = "\u{feff}<a/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [utf_16.as_slice(), b"<a>\xff</a>", b"<a b='\xc3'/>"] {
        assert_eq!(refusal(body), (Reason::Malformed, "the body is not UTF-8"));
    }
}

#[test]
fn well_formed_xml_above_a_limit_is_refused_at_little_cost() {
    let reason = |body: String| refusal(body.as_bytes());
    let deep = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
    let nested = (Reason::TooLarge, "the body is nested deeper than 64 levels");
    assert_eq!(reason(deep(65)), nested);
    assert_eq!(reason("<a>".repeat(1 << 20)), nested);
    assert_ne!(normalized(Format::StandardXml, deep(64).as_bytes()).rejections[0].reason, Reason::TooLarge);
    let many = |of: &str, count: usize| (0..count).map(|n| format!(" {of}{n}='urn:{n}'")).collect::<Vec<_>>().concat();
    let wide = (Reason::TooLarge, "an element has more than 128 attributes");
    assert_eq!(reason(format!("<a{}/>", many("b", 129))), wide);
    assert_eq!(reason(format!("<a{}/>", many("b", 1_000_000))), wide);
    assert_eq!(reason(format!("<a{}/>", many("xmlns:n", 1_000_000))), wide);
    let level = format!("<a{}>", many("xmlns:n", 100));
    let declared = (Reason::TooLarge, "more than 128 namespace declarations are in scope");
    assert_eq!(reason(format!("{level}{level}</a></a>")), declared);
}

/// A declaration is in scope for its element only, so a million elements with declarations are accepted. A million attributes
/// of one namespace under many prefixes, on repeated elements, take linear time.
#[test]
fn many_small_declarations_in_a_row_are_read() {
    let prefixes = (0..60).map(|n| format!(" xmlns:n{n}='urn:{n}'")).collect::<Vec<_>>().concat();
    let attributes = (0..60).map(|n| format!(" n{n}:b=''")).collect::<Vec<_>>().concat();
    let rows = format!("<n59:r{attributes}/><x:r xmlns:x='urn:x' x:c=''/>").repeat(10_000);
    let body = format!("<m{prefixes}><measurements><pulse value='60' unit='bpm'>{rows}</pulse></measurements></m>");
    let found = normalized(Format::StandardXml, body.as_bytes());
    assert_eq!((found.readings.len(), found.rejections.len()), (1, 0));
}

#[test]
fn one_item_above_the_limit_is_refused() {
    let bundle = |count: usize| {
        format!(
            "<Bundle xmlns='http://hl7.org/fhir'>{}</Bundle>",
            "<entry><resource><A/></resource></entry>".repeat(count)
        )
    };
    let reasons = |count: usize| record::reasons(&normalized(Format::FhirXml, bundle(count).as_bytes()));
    assert_eq!(reasons(100_001), [Reason::TooLarge]);
    assert_eq!(reasons(100_000), vec![Reason::NotAReading; 100_000]);
}

#[test]
fn one_name_above_the_limit_is_refused() {
    let found = |count: usize| {
        let names = (0..count).map(|n| format!("<n{n}/>")).collect::<Vec<_>>().concat();
        let pulse = format!("<pulse value='60' unit='bpm'>{names}</pulse>");
        normalized(Format::StandardXml, format!("<m><measurements>{pulse}</measurements></m>").as_bytes())
    };
    assert_eq!((found(1_000).readings.len(), found(1_000).rejections.len()), (1, 0));
    assert_eq!(found(1_001).rejections[0].detail, "an element has child elements with more than 1,000 different names");
}

#[test]
fn one_declaration_or_attribute_above_the_limit_is_refused() {
    let many = |of: &str, count: usize| (0..count).map(|n| format!(" {of}{n}='urn:{n}'")).collect::<Vec<_>>().concat();
    let is_too_large = |root: String, inner: String| {
        let body = format!("<m{root}><measurements><pulse value='60' unit='bpm'{inner}/></measurements></m>");
        normalized(Format::StandardXml, body.as_bytes()).rejections.iter().any(|it| it.reason == Reason::TooLarge)
    };
    assert!(!is_too_large(many("xmlns:n", 64), many("xmlns:m", 64)));
    assert!(is_too_large(many("xmlns:n", 64), many("xmlns:m", 65)));
    assert!(!is_too_large(many("b", 128), String::new()));
    assert!(is_too_large(many("b", 129), String::new()));
}

#[test]
fn an_observation_of_too_many_elements_is_refused() {
    let found = |elements: usize| {
        let more = "<x/>".repeat(elements - 5);
        let code = "<code><text value='x'/></code><status value='final'/><valueString value='y'/>";
        let entry = format!("<entry><resource><Observation>{code}{more}</Observation></resource></entry>");
        normalized(Format::FhirXml, format!("<Bundle xmlns='http://hl7.org/fhir'>{entry}</Bundle>").as_bytes())
    };
    assert_eq!(found(4_000).readings.len(), 1);
    assert_eq!(found(4_001).rejections[0].reason, Reason::UnexpectedShape);
}

#[test]
fn the_root_must_be_an_element_of_the_format() {
    let reason = |format: Format, body: &str| normalized(format, body.as_bytes()).rejections[0].reason;
    assert_eq!(reason(Format::FhirXml, "<Observation/>"), Reason::UnexpectedShape);
    assert_eq!(reason(Format::FhirXml, "<Observation xmlns='http://hl7.org/fhir/'/>"), Reason::UnexpectedShape);
    assert_eq!(reason(Format::FhirXml, "<Observation xmlns='http://hl7.org/fhir'/>"), Reason::Incomplete);
    assert_eq!(reason(Format::FhirXml, "<Basic xmlns='http://hl7.org/fhir'/>"), Reason::NotAReading);
    assert_eq!(reason(Format::FhirXml, "\u{feff}<b:Basic xmlns:b='http://hl7.org/fhir'/>"), Reason::NotAReading);
    assert_eq!(reason(Format::StandardXml, "<message/>"), Reason::UnexpectedShape);
    // Names may begin with an underscore or a letter of any script, and contain digits, hyphens and dots.
    for name in ["_a", "_", "\u{e9}t\u{e9}", "a-1.b_c", "_p:_a"] {
        let known = format!("<Basic xmlns='http://hl7.org/fhir'><{name} xmlns:_p='urn:n' {name}=''/></Basic>");
        assert_eq!(reason(Format::FhirXml, &known), Reason::NotAReading, "{name}");
    }
    // An attribute without a prefix has no namespace (Namespaces in XML, section 6.2), so these two attributes differ.
    let attributes = "<m xmlns='urn:n' xmlns:p='urn:n' b='1' p:b='2'/>";
    assert_eq!(reason(Format::StandardXml, attributes), Reason::UnexpectedShape);
    assert_eq!(reason(Format::StandardXml, "<m><measurements/></m>"), Reason::UnexpectedShape);
    assert_eq!(reason(Format::StandardXml, "<m><measurements><timestamp/></measurements></m>"), Reason::Empty);
}

#[test]
fn a_refused_item_keeps_its_own_xml() {
    let kept = |format: Format, body: &str| -> Vec<String> {
        let rejections = normalized(format, body.as_bytes()).rejections;
        rejections.into_iter().map(|refused| String::from_utf8(refused.bytes).unwrap()).collect()
    };
    let fhir = "<Bundle xmlns='http://hl7.org/fhir'><entry><resource><Basic> <id value='&#66;'/></Basic></resource></entry>\
        <entry ><resource/></entry></Bundle>";
    assert_eq!(kept(Format::FhirXml, fhir), ["<Basic> <id value='&#66;'/></Basic>", "<entry ><resource/></entry>"]);
    let portal = "<p:m xmlns:p='urn:n'><p:measurements><p:Pulse>x</p:Pulse><p:systolicBloodPressure/>\
        <ketone/><ketone>1</ketone><pulseRate a='1'/><p:diastolicBloodPressure/>\
        <documents><aPDF>%</aPDF></documents></p:measurements></p:m>";
    assert_eq!(
        kept(Format::StandardXml, portal),
        [
            "<p:Pulse>x</p:Pulse>",
            "<p:systolicBloodPressure/><p:diastolicBloodPressure/>",
            "<ketone/><ketone>1</ketone>",
            "<pulseRate a='1'/>",
            "<aPDF>%</aPDF>"
        ]
    );
}

fn accounted(found: &Normalized) {
    assert!(found.items() > 0, "the payload has no outcome");
    let has_bytes = |refused: &Rejection| refused.item.is_some() && refused.item_count == 1;
    assert!(found.rejections.iter().all(|refused| has_bytes(refused) != refused.bytes.is_empty()));
}

const GOLDEN: &[(Format, &str)] = &[
    (Format::FhirXml, include_str!("../golden/fhir-xml-edges.input.xml")),
    (Format::FhirXml, include_str!("../golden/fhir-contained-observations-xml.input.xml")),
    (Format::StandardXml, include_str!("../golden/medisante-xml-edges.input.xml")),
    (Format::StandardXml, include_str!("../golden/medisante-hub-xml.input.xml")),
];

proptest! {
    #[test]
    fn any_markup_is_mapped_or_refused(body in "[<>/ab&;:='\"!?\\[\\]# x-]{0,80}") {
        for format in FORMATS {
            accounted(&normalized(format, body.as_bytes()));
        }
    }

    #[test]
    fn damaged_payloads_are_mapped_or_refused(
        case in 0..GOLDEN.len(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (format, text) = GOLDEN[case];
        // The last line break is removed: without it the document would still be complete.
        let mut body = text.trim_end().as_bytes().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        accounted(&normalized(format, &body));
        body.truncate(at);
        let found = normalized(format, &body);
        prop_assert!(found.rejections.iter().all(|refused| refused.reason == Reason::Malformed));
        accounted(&found);
    }
}
