#![no_main]

use schemas::format::{Format, Provider};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    fuzz::check(Provider::Medisante, Format::FhirXml, body);
    fuzz::check(Provider::HealthKit, Format::FhirXml, body);
});
