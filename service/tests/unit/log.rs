//! What a test's own thread logs. One subscriber for all of them: whether a line is wanted at all is remembered for the whole
//! process, so a subscriber of each test's own would miss lines that another thread asked for first.

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

/// Everything since the last call.
pub(crate) fn take() -> String {
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
