//! The formats: one line for each, with its provider, its name and the function that reads it. The code around the pure mapping
//! uses this list and no format directly.

use std::io::BufRead;

use schemas::{
    event::{Reading, Unknown},
    format::{Format, Provider},
    raw::{RawRecord, RecordKind},
    rejection::Reason,
};

use crate::{
    devices,
    drift::Shapes,
    export_xml, fhir, health_auto_export, healthkit, medisante,
    normalized::{Normalized, Rejection},
    observed::{ItemResults, Payload},
    refusal::{Refused, refused},
};

/// The function that maps a payload.
type Read = fn(Payload<'_>) -> ItemResults;

const FORMATS: [(Provider, Format, Read); 9] = [
    (Provider::Medisante, Format::StandardJson, medisante::standard_json),
    (Provider::Medisante, Format::StandardXml, medisante::standard_xml),
    (Provider::Medisante, Format::FhirJson, fhir::json),
    (Provider::Medisante, Format::FhirXml, fhir::xml),
    (Provider::HealthKit, Format::StandardJson, healthkit::json),
    (Provider::HealthKit, Format::FhirJson, fhir::json),
    (Provider::HealthKit, Format::FhirXml, fhir::xml),
    (Provider::HealthKit, Format::HealthAutoExport, health_auto_export::json),
    (Provider::HealthKit, Format::ExportXml, export_xml::body),
];

/// The callback for each item of a stream. It returns whether to continue.
pub(crate) type Each<'e> = &'e mut dyn FnMut(Result<Reading, Rejection>) -> bool;

/// A function that maps a payload from a reader, in constant memory.
type Stream<R> = fn(Payload<'_>, R, Each<'_>) -> Shapes;

/// The formats of large uploads. This is a function because a constant cannot be generic. The functions are generic over the
/// reader, which is called for each token.
fn streamed<R: BufRead>() -> [(Provider, Format, Stream<R>); 1] {
    [(Provider::HealthKit, Format::ExportXml, export_xml::stream)]
}

const NOT_SENT: Refused = refused(Reason::BrokenRecord, "the provider does not send this format");

/// Turns one raw record into events. It is pure: the same record gives the same events.
// Not inlined, so that callgrind can count its instructions (`bench --only instructions`).
#[inline(never)]
#[must_use]
pub fn normalize(record: &RawRecord<'_>) -> Normalized {
    match (record.headers.kind, record.topic.provider()) {
        (RecordKind::Payload(format), Some(provider)) => payload(Payload { record, provider, format }),
        (RecordKind::Assign | RecordKind::Unassign, None) => devices::normalize(record),
        (RecordKind::Payload(_), None) | (RecordKind::Assign | RecordKind::Unassign, Some(_)) => {
            Rejection::whole(refused(Reason::BrokenRecord, "the record's format does not belong on its topic")).into()
        }
    }
}

fn payload(payload: Payload<'_>) -> Normalized {
    let found = FORMATS.iter().find(|(provider, format, _)| (*provider, *format) == (payload.provider, payload.format));
    let Some((_, _, read)) = found else { return Rejection::whole(NOT_SENT).into() };
    let items = read(payload);
    Normalized {
        readings: items.readings,
        documents: items.documents,
        rejections: items.rejections,
        commands: Vec::new(),
        unknown: items.unknown.into_unknown(payload.format),
    }
}

/// Turns a large upload into events while it is read, and passes each item to `each` until that returns `false`. Returns the
/// shapes that the mapping does not know.
pub(crate) fn stream(record: &RawRecord<'_>, input: impl BufRead, each: Each<'_>) -> Vec<Unknown> {
    let found = match (record.headers.kind, record.topic.provider()) {
        (RecordKind::Payload(format), Some(provider)) => Some(Payload { record, provider, format }),
        (RecordKind::Payload(_) | RecordKind::Assign | RecordKind::Unassign, _) => None,
    };
    let found = found.and_then(|payload| {
        let mut formats = streamed().into_iter();
        formats
            .find(|(provider, format, _)| (*provider, *format) == (payload.provider, payload.format))
            .map(|(.., read)| (payload, read))
    });
    let Some((payload, read)) = found else {
        each(Err(Rejection::whole(NOT_SENT)));
        return Vec::new();
    };
    read(payload, input, each).into_unknown(payload.format)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn each_format_has_a_fuzz_target() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        let files = fs::read_dir(fuzz.join("targets")).unwrap().map(|file| file.unwrap().path());
        let targets = files.map(|file| {
            let path = format!("\"targets/{}\"", file.file_name().unwrap().to_str().unwrap());
            assert!(manifest.contains(&path), "{path} is not in the manifest");
            fs::read_to_string(file).unwrap()
        });
        let targets: String = targets.collect();
        for (provider, format, _) in FORMATS {
            let checked = format!("fuzz::check(Provider::{provider:?}, Format::{format:?}, body)");
            assert!(targets.contains(&checked), "no target has {checked}");
        }
    }

    #[test]
    fn each_format_that_a_provider_sends_has_one_line() {
        let mut listed: Vec<_> = FORMATS.iter().map(|(provider, format, _)| (*provider, *format)).collect();
        let sent =
            |provider: &Provider| provider.formats().iter().map(|format| (*provider, *format)).collect::<Vec<_>>();
        let mut sent: Vec<_> = Provider::ALL.iter().flat_map(sent).collect();
        listed.sort_unstable();
        sent.sort_unstable();
        assert_eq!(listed, sent);
    }
}
