//! Captures what the test's own thread logs. All tests share one subscriber: `tracing` caches for the whole process whether a
//! log statement is enabled, so with one subscriber for each test a test could miss lines that another thread reached first.

use std::{cell::RefCell, io, sync::Once};

static LISTENING: Once = Once::new();

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn listen() {
    LISTENING.call_once(|| {
        let lines = tracing_subscriber::fmt().with_writer(|| Own).without_time().with_ansi(false);
        tracing::subscriber::set_global_default(lines.finish()).unwrap();
    });
}

/// Returns everything logged since the last call.
pub(crate) fn take_lines() -> String {
    String::from_utf8(LOG.take()).unwrap()
}

struct Own;

impl io::Write for Own {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
