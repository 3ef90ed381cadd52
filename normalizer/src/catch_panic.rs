//! Panics whose message is not logged: on a mapping thread, the message may quote the payload.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Once,
};

thread_local! {
    static WITHHELD: Cell<bool> = const { Cell::new(false) };
}

static INSTALLED: Once = Once::new();

/// The work panicked. The panic message is not kept anywhere.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs work that sees health data. If the work panics, the log contains the line of the code, and the panic message is
/// dropped.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    INSTALLED.call_once(install);
    let before = WITHHELD.replace(true);
    // `AssertUnwindSafe` holds: everything that the work owned is dropped with it and is not used again.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    WITHHELD.set(before);
    done.map_err(|_text| Panicked)
}

fn install() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !WITHHELD.get() {
            return others(info);
        }
        let file = info.location().and_then(|at| Path::new(at.file()).file_name()?.to_str()).unwrap_or_default();
        let line = info.location().map_or(0, panic::Location::line);
        tracing::error!(file, line, "the mapping panicked; the panic message is withheld");
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CANARY: &str = "canary-71c";

    /// Run by the test below, in a process of its own.
    #[test]
    #[ignore = "panics with its message on stderr; run by another test"]
    fn panics() {
        assert!(catch_panic(|| panic!("{CANARY} within")).is_err());
        assert_eq!(catch_panic(|| 7).unwrap(), 7);
        panic!("{} outside", CANARY.to_uppercase());
    }

    #[test]
    fn a_panic_message_is_shown_only_outside_of_the_mapping() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output =
            again.args(["--exact", "catch_panic::tests::panics", "--ignored", "--nocapture"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("CANARY-71C outside"), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
}
