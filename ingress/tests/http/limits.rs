//! Limits on size and time, and content codings.

use std::{io::Write, time::Duration};

use axum::body::{Body, Bytes};
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use crate::test_app::{LogBehaviour, TestApp, partition};

const PATH: &str = "/health-data/healthkit/json";
const LIMIT: usize = 1024 * 1024;

/// Returns a JSON text of exactly this length.
fn text(length: usize) -> String {
    format!("[\"{}\"]", "x".repeat(length - 4))
}

/// Returns a body without a `Content-Length`.
fn chunked(text: &str) -> Body {
    let chunks: Vec<_> =
        text.as_bytes().chunks(60_000).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
    Body::from_stream(futures_util::stream::iter(chunks))
}

type Encoder<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_at_the_limit_is_accepted_and_one_byte_more_is_refused() {
    let test_app = TestApp::new();
    assert_eq!(test_app.post(PATH).send(text(LIMIT)).await.status, 200);
    let announced = test_app.post(PATH).header("content-length", &LIMIT.to_string()).send(text(LIMIT)).await;
    assert_eq!(announced.status, 200);
    assert_eq!(test_app.post(PATH).send(chunked(&text(LIMIT))).await.status, 200);
    test_app.last(|record| assert_eq!(record.body.len(), LIMIT));
    let over = LIMIT + 1;
    assert_eq!(test_app.post(PATH).send(text(over)).await.problem(413), "too-large");
    assert_eq!(test_app.post(PATH).send(chunked(&text(over))).await.problem(413), "too-large");
    let announced = test_app.post(PATH).header("content-length", "2097152").send("{}").await;
    assert_eq!(announced.problem(413), "too-large");
    assert!(announced.json()["detail"].as_str().unwrap().contains("1048576"));
    assert_eq!(test_app.stored(), 3);
}

#[tokio::test]
async fn every_content_coding_is_decoded_up_to_the_limit() {
    let test_app = TestApp::new();
    let zlib = |text: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let deflate = |text: &[u8]| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &[u8]| zstd::encode_all(text, 3).unwrap();
    let codings: [(&str, Encoder<'_>); 6] = [
        ("identity", &<[u8]>::to_vec),
        ("gzip", &gzip),
        ("X-GZIP", &gzip),
        ("deflate", &zlib),
        ("deflate", &deflate),
        ("zstd", &zstd),
    ];
    for (name, encode) in codings {
        let small = "{\"a\":1}";
        let answer = test_app.post(PATH).header("content-encoding", name).send(encode(small.as_bytes())).await;
        assert_eq!(answer.status, 200, "{name}");
        test_app.last(|record| assert_eq!(record.body, small.as_bytes()));
        let whole = test_app.post(PATH).header("content-encoding", name).send(encode(text(LIMIT).as_bytes())).await;
        assert_eq!(whole.status, 200, "{name}: exactly at the limit when inflated");
        let over = test_app.post(PATH).header("content-encoding", name).send(encode(text(LIMIT + 1).as_bytes())).await;
        assert_eq!(over.problem(413), "too-large", "{name}");
    }
}

#[tokio::test]
async fn a_raw_deflate_stream_whose_first_bytes_pass_the_check_of_a_zlib_header_is_decoded() {
    // A stored block of 23 bytes begins with 0x01 0x17, a multiple of 31, but not with the number of zlib's method.
    let body = text(23);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(body.as_bytes()).unwrap();
    let coded = encoder.finish().unwrap();
    assert_eq!((coded[0], coded[1]), (0x01, 0x17));
    let test_app = TestApp::new();
    assert_eq!(test_app.post(PATH).header("content-encoding", "deflate").send(coded).await.status, 200);
    test_app.last(|record| assert_eq!(record.body, body.as_bytes()));
}

#[tokio::test]
async fn a_compression_bomb_is_refused() {
    let test_app = TestApp::new();
    let bomb = gzip(&vec![b' '; 128 * 1024 * 1024]);
    assert!(bomb.len() < LIMIT);
    let answer = test_app.post(PATH).header("content-encoding", "gzip").send(bomb).await;
    assert_eq!(answer.problem(413), "too-large");
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn a_zstd_window_above_8_mib_is_refused() {
    let test_app = TestApp::new();
    for (window_log, status) in [(23, 200), (24, 400), (27, 400)] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(b"{}").unwrap();
        let answer = test_app.post(PATH).header("content-encoding", "zstd").send(encoder.finish().unwrap()).await;
        assert_eq!(answer.status, status, "{window_log}");
    }
}

#[tokio::test]
async fn unknown_and_multiple_content_codings_are_refused() {
    let test_app = TestApp::new();
    for coding in ["br", "gzip, gzip", "compress"] {
        let answer = test_app.post(PATH).header("content-encoding", coding).send("{}").await;
        assert_eq!(answer.problem(415), "content-coding");
    }
    let twice = test_app.post(PATH).header("content-encoding", "gzip").header("content-encoding", "gzip");
    assert_eq!(twice.send("{}").await.problem(415), "content-coding");
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_stored_as_it_was_sent() {
    let test_app = TestApp::new();
    let mut cut = gzip(b"{\"a\":1}");
    cut.truncate(cut.len() - 4);
    let bodies = [("gzip", b"{}".to_vec()), ("gzip", cut), ("zstd", b"nothing".to_vec()), ("deflate", vec![0xff; 9])];
    for (coding, body) in bodies {
        let answer = test_app.post(PATH).header("content-encoding", coding).send(body.clone()).await;
        assert_eq!(answer.problem(400), "malformed", "{coding}");
        assert_eq!(answer.receipt().partition, partition(&body));
        test_app.last(|record| assert_eq!(record.body, body));
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let test_app = TestApp::with(LogBehaviour::Stores, |config| config.body_timeout = Duration::from_millis(50));
    let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(test_app.post(PATH).send(never).await.problem(408), "body-timeout");
}

#[tokio::test]
async fn an_incomplete_body_is_not_stored() {
    let test_app = TestApp::new();
    let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("reset"))]);
    assert_eq!(test_app.post(PATH).send(Body::from_stream(broken)).await.problem(400), "body-broken-off");
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn without_an_acknowledgement_the_response_is_503_in_time() {
    for behaviour in [
        LogBehaviour::PartitionsUnknown,
        LogBehaviour::QueueFull,
        LogBehaviour::Rejects,
        LogBehaviour::DropsAcknowledgement,
        LogBehaviour::NeverAcknowledges,
    ] {
        let test_app = TestApp::with(behaviour, |config| config.produce_timeout = Duration::from_millis(50));
        for body in ["{}", "{"] {
            let answer = tokio::time::timeout(Duration::from_secs(10), test_app.post(PATH).send(body)).await;
            let answer = answer.expect("the request is answered within the time limit");
            assert_eq!(answer.problem(503), "unavailable");
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
            assert_eq!(test_app.stored(), 0);
        }
    }
}
