//! The form of codes, by their code system. Most typing errors break it.

use super::fault::{ExtensionError, Place};
use crate::{
    load::system,
    system::{LOINC, MDC, SNOMED, SYSTEMS},
};

/// Checks that a code of the system with this name is well-formed. Returns the URI of the system.
pub(super) fn check(name: &str, code: &str, place: &Place) -> Result<&'static str, ExtensionError> {
    let Some(system) = system(name) else {
        let known: Vec<&str> = SYSTEMS.iter().map(|(name, _)| *name).collect();
        return Err(place.fault(format!("unknown code system '{name}'"), format!("known are {}", known.join(", "))));
    };
    match fault(system, code) {
        Some(fault) => Err(place.fault(format!("{name} {code}: {fault}"), "compare it with the code system")),
        None => Ok(system),
    }
}

/// Returns what is wrong with a code of a system.
fn fault(system: &str, code: &str) -> Option<&'static str> {
    if code.is_empty() || code.trim_ascii() != code {
        return Some("a code is empty, or begins or ends with a space");
    }
    match system {
        LOINC if !is_loinc(code) => Some("the check digit of this LOINC code is wrong"),
        SNOMED if !is_snomed(code) => Some("the check digit of this SNOMED CT code is wrong"),
        MDC if code.parse::<u32>().is_err() => Some("an MDC code is a number: partition × 65536 + term"),
        _ => None,
    }
}

/// Whether the digit after the hyphen is the check digit of those before it: the mod 10 algorithm of the LOINC Users' Guide,
/// appendix "LOINC check digit".
fn is_loinc(code: &str) -> bool {
    let Some((number, check)) = code.split_once('-') else { return false };
    let Some(digits) = digits(number).filter(|digits| !digits.is_empty()) else { return false };
    let sum: usize = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    check.parse() == Ok((10 - sum % 10) % 10)
}

/// Whether the last digit is a check digit by Verhoeff, which calculates in the dihedral group of ten (SNOMED CT Release File
/// Specification, section "Check-digit").
fn is_snomed(code: &str) -> bool {
    let product = |left: usize, right: usize| match (left / 5, right / 5) {
        (0, 0) => (left + right) % 5,
        (0, _) => (left + right) % 5 + 5,
        (_, 0) => (left + 5 - right) % 5 + 5,
        _ => (left + 5 - right) % 5,
    };
    let permuted = |digit: usize| [1, 5, 7, 6, 2, 8, 3, 0, 9, 4].get(digit).copied().unwrap_or_default();
    let Some(digits) = digits(code) else { return false };
    let check = digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |check, (place, digit)| product(check, (0..place % 8).fold(*digit, |digit, _| permuted(digit))));
    check == 0 && digits.len() >= 6
}

fn digits(text: &str) -> Option<Vec<usize>> {
    text.chars().map(|char| char.to_digit(10).and_then(|digit| usize::try_from(digit).ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::MEDISANTE;

    #[test]
    fn every_built_in_code_has_the_form_of_its_system() {
        let mut codes: Vec<(&str, &str)> = Vec::new();
        for metric in crate::metrics() {
            codes.extend(metric.codes().map(|code| (code.system(), code.code())));
            codes.extend(metric.alternate_codes());
            codes.extend(metric.coded_values().iter().map(|value| (value.system(), value.code())));
        }
        for (system, code) in &codes {
            assert_eq!(fault(system, code), None, "{system} {code}");
        }
        for (system, at_least) in [(LOINC, 50), (SNOMED, 10)] {
            assert!(codes.iter().filter(|(of, _)| *of == system).count() > at_least, "{system}");
        }
    }

    #[test]
    fn a_mistyped_code_is_noticed() {
        for (system, right, wrong) in [
            (LOINC, "32693-4", ["32693-5", "32963-4", "32693", "-4", "3269x-4", "32693-"]),
            (SNOMED, "271649006", ["271649007", "271694006", "27164900", "0", "27164900x", ""]),
            (MDC, "150021", ["15002l", "-1", "150 021", "", "4294967296", "MDC"]),
            (MEDISANTE, "lactate", [" lactate", "lactate ", "", "\tlactate", "lactate\n", " "]),
        ] {
            assert_eq!(fault(system, right), None, "{right}");
            for wrong in wrong {
                assert!(fault(system, wrong).is_some(), "{wrong}");
            }
        }
    }
}
