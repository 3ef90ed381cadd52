//! Rows of the table of readings in COPY's binary format, split into the batches that plain SQL writes back.

use futures_util::TryStreamExt;
use sqlx::PgConnection;

use crate::Result;

/// The number of bytes of signature, flags and length of the header extension (PostgreSQL documentation, COPY, "Binary Format").
const HEADER: usize = 19;
const TRAILER: [u8; 2] = [0xff, 0xff];

/// Batches of rows, each a complete stream for `COPY … FROM STDIN (FORMAT binary)`.
pub(crate) struct Batches {
    streams: Vec<Vec<u8>>,
    rows: u64,
}

impl Batches {
    /// Reads the whole table in the order in which it was written.
    pub(crate) async fn of_readings(connection: &mut PgConnection, batch: usize) -> Result<Self> {
        sqlx::query("SET synchronize_seqscans = off").execute(&mut *connection).await?;
        let mut stream = connection.copy_out_raw("COPY readings TO STDOUT (FORMAT binary)").await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Self::split(&bytes, batch).ok_or_else(|| "the rows are not in COPY's binary format".into())
    }

    fn split(bytes: &[u8], batch: usize) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER)?;
        let (mut streams, mut rows): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
        while rest != TRAILER {
            let (row, after) = rest.split_at_checked(row_bytes(rest)?)?;
            if rows.is_multiple_of(batch) {
                streams.push(header.to_vec());
            }
            streams.last_mut()?.extend_from_slice(row);
            rows += 1;
            rest = after;
        }
        for stream in &mut streams {
            stream.extend_from_slice(&TRAILER);
        }
        Some(Self { streams, rows: rows as u64 })
    }

    /// Returns the stream of each batch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.streams.iter().map(Vec::as_slice)
    }

    /// The number of rows in all batches.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }
}

/// Returns the length of the first row in bytes. A row is the number of fields, then each field's length (-1 for NULL) and bytes.
fn row_bytes(bytes: &[u8]) -> Option<usize> {
    let (fields, _) = bytes.split_first_chunk::<2>()?;
    let mut at = 2;
    for _ in 0..u16::from_be_bytes(*fields) {
        let (length, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
        at += 4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_into_batches_of_whole_rows() {
        let row = [&[0, 2][..], &[0, 0, 0, 1, 7], &[0xff, 0xff, 0xff, 0xff]].concat();
        let table = [&[9; HEADER][..], &row, &row, &row, &TRAILER].concat();
        let batches = Batches::split(&table, 2).unwrap();
        assert_eq!(batches.rows(), 3);
        let sizes: Vec<usize> = batches.iter().map(<[u8]>::len).collect();
        assert_eq!(sizes, [HEADER + 2 * row.len() + 2, HEADER + row.len() + 2]);
        assert!(Batches::split(&table[..table.len() - 3], 2).is_none());
    }
}
