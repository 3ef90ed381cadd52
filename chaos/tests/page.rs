//! The page on reliability names tests and faults that exist.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::{fs, path::Path};

use chaos::fault::FaultKind;

const PAGE: &str = include_str!("../../docs/reliability.md");
/// The least number of underscores in the name of a test.
const WORDS: usize = 4;

/// The source files of all crates and tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_test_that_the_page_names_exists() {
    let mut all = String::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), &mut all);
    let named: Vec<&str> =
        PAGE.split('`').filter(|word| word.matches('_').count() >= WORDS && !word.contains(' ')).collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_kind_of_fault_is_on_the_page() {
    let kinds = FaultKind::PLAIN.iter().chain(&FaultKind::FAIL_POINTS);
    let missing: Vec<String> = kinds.map(|kind| kind.name()).filter(|name| !PAGE.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
