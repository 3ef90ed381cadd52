//! Ports for the processes of an installation.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// After so many ports, earlier ones are returned again. An installation uses about a hundred.
const REMEMBERED: usize = 5_000;

static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Returns a port that is free and that this function has not returned before: a process binds its port only a moment later, and
/// again when it is restarted.
pub(crate) fn unused_port() -> u16 {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    if used.len() >= REMEMBERED {
        used.clear();
    }
    loop {
        let port = embedded::free_port();
        if used.insert(port) {
            return port;
        }
    }
}
