//! The response to an array: a receipt for each sample, produced while the client reads. A hundred thousand samples fit into a
//! compressed body of a few hundred bytes, but their receipts are several megabytes.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use schemas::receipt::{ItemPosition, ReceiptKey};

/// How many receipts are produced at once.
const PIECE: u32 = 500;
/// The JSON before and after a receipt; matches the serialized form of [`crate::endpoint::Id`].
const AROUND: [&str; 2] = ["{\"_id\":\"", "\"}"];

/// A JSON array of receipts.
pub(super) struct Receipts {
    key: ReceiptKey,
    /// The position of the next sample.
    position: ItemPosition,
    count: u32,
    /// How many bytes have not been produced yet.
    left_bytes: u64,
}

impl Receipts {
    /// Creates the receipts of the first `count` samples of a payload.
    pub(super) fn new(key: ReceiptKey, payload: ItemPosition, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let each = AROUND.concat().len() + key.issue(&payload).len() + ",".len();
        let left_bytes = "[]".len() as u64 + (u64::from(count) * each as u64).saturating_sub(1);
        Self { key, position: ItemPosition { item: 0, ..payload }, count, left_bytes }
    }

    fn piece(&mut self) -> String {
        let [before, after] = AROUND;
        let first = self.position.item;
        let end = self.count.min(first.saturating_add(PIECE));
        let mut text = String::from(if first == 0 { "[" } else { "" });
        while self.position.item < end {
            if self.position.item > 0 {
                text.push(',');
            }
            text.push_str(before);
            text.push_str(&self.key.issue(&self.position));
            text.push_str(after);
            self.position.item += 1;
        }
        if end == self.count {
            text.push(']');
        }
        text
    }
}

impl hyper::body::Body for Receipts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let piece = Bytes::from(self.piece());
        self.left_bytes = self.left_bytes.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

impl IntoResponse for Receipts {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], Body::new(self)).into_response()
    }
}
