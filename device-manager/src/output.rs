//! The output of commands: results on standard output, remarks on standard error, both safe for a terminal.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, ErrorKind, IsTerminal as _, Write},
};

use serde::Serialize;

/// Standard output, for results only. Everything else is written to standard error.
pub struct Output {
    to: Box<dyn Write + Send>,
    is_closed: bool,
    is_terminal: bool,
}

impl Output {
    /// The standard output of the process.
    #[must_use]
    pub fn stdout() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), ..Self::to(io::stdout()) }
    }

    fn to(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), is_closed: false, is_terminal: false }
    }

    /// Writes one line. Control characters other than tabs are escaped.
    ///
    /// # Errors
    /// The line cannot be written. A closed pipe is not an error: the command continues, and nothing more is written.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        self.write_line(&printable(line))
    }

    /// Writes one JSON value on one line. Control characters in its strings are escaped as JSON escapes them.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value)?;
        self.write_line(&escaped(&text, |char, to| {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(to, "\\u{unit:04x}");
            }
        }))
    }

    /// Writes bytes as they are, or as lines with escaped control characters if they are read on a terminal.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return self.write(bytes);
        }
        String::from_utf8_lossy(bytes).lines().try_for_each(|line| self.line(line))
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match self.to.write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            written => written,
        }
    }
}

/// Writes a remark, which is not part of the result, to standard error.
pub fn remark(line: &str) {
    // If standard error is closed, nothing can be printed.
    let _closed = writeln!(io::stderr(), "device-manager: {}", printable(line));
}

/// A number with its noun, in the plural unless the number is one.
pub(crate) fn counted(count: impl Into<i64>, noun: &str) -> String {
    let count = count.into();
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// Escapes control characters other than tabs: text from a sender must not move the cursor, break a line or change the text
/// direction.
fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |char, to| to.extend(char.escape_unicode()))
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_unsafe(char) { escape(char, &mut safe) } else { safe.push(char) }
    }
    safe.into()
}

/// Whether the character is a control character (Unicode category Cc) other than a tab, or breaks a line or changes the
/// text direction (UAX #9).
fn is_unsafe(char: char) -> bool {
    let is_format = matches!(char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (char.is_control() && char != '\t') || is_format
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\u{1b}[31m\u{9b}2J\r\n\u{202e}é\t\u{7f}";

    #[test]
    fn printed_text_has_no_terminal_control_characters() {
        let pipe = Pipe::default();
        let mut output = Output::to(pipe.clone());
        output.line(HOSTILE).unwrap();
        output.json(&serde_json::json!({ "shape": HOSTILE })).unwrap();
        let text = String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap();
        let [line, json] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(line, "a\\u{1b}[31m\\u{9b}2J\\u{d}\\u{a}\\u{202e}é\t\\u{7f}");
        assert!(!json.chars().any(|char| is_unsafe(char) || char == '\t'), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap()["shape"], HOSTILE);
    }

    #[test]
    fn bytes_are_written_as_they_are_except_to_a_terminal() {
        let bytes = [HOSTILE.as_bytes(), &[0, 0xff]].concat();
        for is_terminal in [false, true] {
            let pipe = Pipe::default();
            let mut output = Output { is_terminal, ..Output::to(pipe.clone()) };
            output.bytes(&bytes).unwrap();
            let written = pipe.0.lock().unwrap().clone();
            assert_eq!(written == bytes, !is_terminal);
            let text = String::from_utf8_lossy(&written);
            assert!(!is_terminal || text.lines().all(|line| !line.chars().any(is_unsafe)), "{text}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
        struct Fails(ErrorKind);
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(Output::to(Fails(ErrorKind::StorageFull)).line("x").is_err());
        let mut closed = Output::to(Fails(ErrorKind::BrokenPipe));
        assert!(closed.line("x").is_ok() && closed.is_closed);
    }
}
