//! A reader that returns at most a given number of bytes between two resets. A parser that buffers a whole token before it
//! returns the token can therefore buffer no more than that.

use std::io::{self, BufRead, Read};

/// A reader that fails once `limit` bytes have been read since the last [`Capped::renew`].
pub struct Capped<R> {
    input: R,
    limit: usize,
    left: usize,
    exceeded: bool,
}

impl<R> Capped<R> {
    /// Creates a reader that allows `limit` bytes.
    pub fn new(input: R, limit: usize) -> Self {
        Self { input, limit, left: limit, exceeded: false }
    }

    /// Allows `limit` bytes again.
    pub fn renew(&mut self) {
        self.left = self.limit;
    }

    /// Returns whether a read was refused because the limit was reached.
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }
}

impl<R: BufRead> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl<R: BufRead> BufRead for Capped<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let left = self.left;
        self.input.fill_buf().map(|bytes| bytes.get(..left).unwrap_or(bytes))
    }

    fn consume(&mut self, amount: usize) {
        self.left = self.left.saturating_sub(amount);
        self.input.consume(amount);
    }
}

/// Implements `Read::read` for a type that implements `BufRead`.
///
/// # Errors
/// The errors of `fill_buf`.
pub fn read_buffered(input: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let given = input.fill_buf()?;
    let amount = given.len().min(buffer.len());
    let (head, _) = buffer.split_at_mut(amount);
    head.copy_from_slice(given.get(..amount).unwrap_or_default());
    input.consume(amount);
    Ok(amount)
}
