//! The memory used by compressed bodies that decode to far more than their size, and by large bodies.

use std::io::{self, Write};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::Request,
};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::{
    counting::{peak, turn},
    test_app::{LogBehaviour, TestApp},
};

const MIB: usize = 1024 * 1024;
const BODY: &str = "/health-data/medisante/json";
const UPLOAD: &str = "/health-data/healthkit/export-xml";

/// The memory that one upload may use, as stated in the help of UPLOADS_MAX.
const UPLOAD_BYTES: usize = 8 * MIB;

/// Returns a well-formed export of this many MiB in each content coding.
fn bombs(mib: usize) -> [(&'static str, Vec<u8>); 3] {
    let part = "<a/>".repeat(MIB / 4);
    let write = |to: &mut dyn Write| {
        to.write_all(b"<HealthData>").unwrap();
        (0..mib).for_each(|_| to.write_all(part.as_bytes()).unwrap());
        to.write_all(b"</HealthData>").unwrap();
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    write(&mut gzip);
    write(&mut deflate);
    write(&mut zstd);
    [("gzip", gzip.finish().unwrap()), ("deflate", deflate.finish().unwrap()), ("zstd", zstd.finish().unwrap())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_bomb_is_not_decompressed_beyond_the_limit() {
    let _turn = turn().await;
    let test_app = TestApp::with(LogBehaviour::Discards, |config| config.upload_bytes_max = 16 * MIB as u64);
    for (coding, bomb) in bombs(24) {
        assert!(bomb.len() < MIB, "{coding}: {}", bomb.len());
        // 4 MiB: a vector that grows by doubling, together with its previous buffer.
        for (path, most) in [(BODY, 4 * MIB), (UPLOAD, UPLOAD_BYTES)] {
            let (answer, bytes) = peak(test_app.post(path).header("content-encoding", coding).send(bomb.clone())).await;
            assert_eq!(answer.problem(413), "too-large", "{path} {coding}");
            assert!(bytes < most, "{path} {coding}: {bytes} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_uses_at_most_its_documented_memory() {
    let _turn = turn().await;
    let test_app = TestApp::with(LogBehaviour::Discards, |_| {});
    let part = Bytes::from("<a/>".repeat(MIB / 4));
    let parts = (0..24).map(move |_| Ok::<_, io::Error>(part.clone()));
    let whole = [Ok("<HealthData>".into())].into_iter().chain(parts).chain([Ok("</HealthData>".into())]);
    let (answer, bytes) = peak(test_app.post(UPLOAD).send(Body::from_stream(futures_util::stream::iter(whole)))).await;
    assert_eq!(answer.status, 200);
    assert!(bytes < UPLOAD_BYTES, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipts_of_many_samples_are_created_while_they_are_sent() {
    let _turn = turn().await;
    let test_app = TestApp::with(LogBehaviour::Discards, |_| {});
    let samples = format!("[{}]", vec!["0"; 100_000].join(","));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(samples.as_bytes()).unwrap();
    let request = Request::post("/health-data/healthkit/json").header("x-api-key", &test_app.key);
    let request = request.header("content-encoding", "gzip").body(Body::from(gzip.finish().unwrap())).unwrap();
    let answered = async {
        let mut body = test_app.app.clone().oneshot(request).await.unwrap().into_body();
        let (announced, mut taken) = (body.size_hint().exact(), 0);
        while let Some(frame) = body.frame().await {
            taken += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
        }
        (announced, taken)
    };
    let ((announced, taken), bytes) = peak(answered).await;
    assert!(taken > 4_000_000 && announced == Some(taken), "{announced:?} {taken}");
    // The decoded body, in a vector that grew by doubling.
    assert!(bytes < MIB, "{bytes} bytes for an answer of {taken}");
}
