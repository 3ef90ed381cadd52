//! Large uploads: the records on the topic, and the responses to broken bodies.

use std::{io::Write as _, sync::atomic::Ordering, time::Duration};

use axum::body::{Body, Bytes};
use schemas::{
    format::{Format, RawTopic},
    raw::{Headers, RecordKind},
    upload::{CHUNK_BYTES, Upload, UploadPart},
};
use tokio::sync::mpsc;

use crate::test_app::{LogBehaviour, TestApp, content_hmac, partition};

const PATH: &str = "/health-data/healthkit/export-xml";

/// Returns an export of about `bytes` bytes.
fn export(bytes: usize) -> Vec<u8> {
    let record = "<Record type='HKQuantityTypeIdentifierHeartRate' unit='count/min' value='61'/>\n";
    format!(
        "<!DOCTYPE HealthData [<!ELEMENT HealthData ANY>]><HealthData>{}</HealthData>",
        record.repeat(bytes / record.len())
    )
    .into_bytes()
}

/// Returns a body that arrives in frames, as over a network.
fn frames(body: &[u8]) -> Body {
    let frames: Vec<Result<Bytes, std::io::Error>> =
        body.chunks(10_000).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect();
    Body::from_stream(futures_util::stream::iter(frames))
}

fn part(headers: &Headers) -> Option<UploadPart> {
    headers.upload.as_ref().map(Upload::part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_stored_as_chunks_and_a_manifest() {
    let test_app = TestApp::new();
    let body = export(CHUNK_BYTES * 3 + 1_000);
    let path = format!("{PATH}?type=t&unit=u&deviceId=d");
    let answer = test_app.post(&path).header("x-correlation-id", "abc-1").send(frames(&body)).await;
    assert_eq!(answer.status, 200);

    let records = test_app.log.records.lock().unwrap();
    let (manifest, chunks) = records.split_last().unwrap();
    assert_eq!(chunks.len(), 4);
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.body.clone()).collect::<Vec<u8>>(), body);
    for (number, chunk) in (0..).zip(chunks) {
        assert_eq!(part(&chunk.headers), Some(UploadPart::Chunk { number }));
        // The hash of the first chunk selects the partition of all chunks, so that a retry goes to the same partition.
        assert_eq!((chunk.topic, chunk.key.as_deref()), (RawTopic::Uploads, None));
        assert_eq!(chunk.partition, Some(partition(&body[..CHUNK_BYTES])));
        assert_eq!(chunk.headers.content_hmac, content_hmac(&chunk.body));
    }
    for Headers { kind, correlation_id, sample_type, unit, device_id, .. } in records.iter().map(|part| &part.headers) {
        assert_eq!((*kind, correlation_id.as_str()), (RecordKind::Payload(Format::ExportXml), "abc-1"));
        let parameters = (sample_type.as_deref(), unit.as_deref(), device_id.as_deref());
        assert_eq!(parameters, (Some("t"), Some("u"), Some("d")));
    }
    assert!(manifest.body.is_empty());
    assert_eq!(part(&manifest.headers), Some(UploadPart::Manifest { chunks: 4, bytes: body.len() as u64, first: 40 }));
    assert_eq!(manifest.headers.content_hmac, content_hmac(&body));
    assert_eq!((manifest.topic, manifest.partition), (RawTopic::Uploads, chunks[0].partition));
    let position = answer.position();
    assert_eq!((position.topic, position.offset), (RawTopic::Uploads, 44), "the receipt names the manifest");
    assert_eq!(Some(position.partition), manifest.partition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_chunk_is_one_record() {
    let test_app = TestApp::new();
    for length in [100, CHUNK_BYTES - 100] {
        let mut body = export(length);
        body.resize(body.len().max(length), b'\n');
        let answer = test_app.post(PATH).send(frames(&body)).await;
        assert_eq!((answer.status.as_u16(), answer.position().topic), (200, RawTopic::Uploads));
        test_app.last(|record| {
            assert_eq!((record.topic, record.key.as_deref()), (RawTopic::Uploads, None));
            assert_eq!(record.partition, Some(partition(&body)));
            assert!(record.headers.upload.is_none() && record.body == body);
            assert_eq!(record.headers.content_hmac, content_hmac(&body));
        });
    }
    assert_eq!(test_app.stored(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coded_upload_is_decoded_as_it_arrives() {
    let test_app = TestApp::new();
    let body = export(CHUNK_BYTES * 2);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&body).unwrap();
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(&body).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&body).unwrap();
    let zstd = zstd::encode_all(body.as_slice(), 1).unwrap();
    let coded = [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("zstd", zstd),
    ];
    for (coding, sent) in coded {
        test_app.log.records.lock().unwrap().clear();
        assert_eq!(
            test_app.post(PATH).header("content-encoding", coding).send(frames(&sent)).await.status,
            200,
            "{coding}"
        );
        test_app.last(|manifest| assert_eq!(manifest.headers.content_hmac, content_hmac(&body), "{coding}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_upload_is_stored() {
    let test_app = TestApp::new();
    let mut broken = export(CHUNK_BYTES * 2);
    broken.extend_from_slice(b"<again/>");
    assert_eq!(test_app.post(PATH).send(frames(&broken)).await.problem(400), "malformed");
    test_app.last(|manifest| assert_eq!(manifest.headers.content_hmac, content_hmac(&broken)));

    test_app.log.records.lock().unwrap().clear();
    let no_gzip = b"this was never compressed".to_vec();
    let answer = test_app.post(PATH).header("content-encoding", "gzip").send(frames(&no_gzip)).await;
    assert_eq!(answer.problem(400), "malformed");
    test_app.last(|record| {
        assert_eq!(record.body, no_gzip);
        assert_eq!(record.headers.content_hmac, content_hmac(&no_gzip));
    });

    let answer = test_app.post(PATH).send("").await;
    assert_eq!(answer.problem(400), "malformed");
    assert!(answer.json()["detail"].as_str().unwrap().contains("the body is empty"));
    test_app.last(|record| assert!(record.body.is_empty() && record.headers.upload.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_decoded_is_stored_as_far_as_possible() {
    let test_app = TestApp::new();
    let send = async |body: &[u8]| {
        let answer = test_app.post(PATH).header("content-encoding", "gzip").send(frames(body)).await;
        assert_eq!(answer.problem(400), "malformed");
    };
    // From the start: the first chunk as it was sent, in several frames.
    for length in [25_000, CHUNK_BYTES + 25_000] {
        let no_gzip = vec![b'x'; length];
        send(&no_gzip).await;
        test_app.last(|record| {
            assert!(record.body == no_gzip[..length.min(CHUNK_BYTES)], "{} bytes", record.body.len());
            assert_eq!(record.headers.content_hmac, content_hmac(&record.body));
        });
    }
    // After the first chunk: what was decoded.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&export(CHUNK_BYTES * 2)).unwrap();
    let mut cut = gzip.finish().unwrap();
    cut.truncate(CHUNK_BYTES + CHUNK_BYTES / 2);
    test_app.log.records.lock().unwrap().clear();
    send(&cut).await;
    let records = test_app.log.records.lock().unwrap();
    assert_eq!(records.len(), 3, "two chunks and a manifest");
    assert!(records[..2].iter().all(|chunk| matches!(part(&chunk.headers), Some(UploadPart::Chunk { .. }))));
    assert!(matches!(part(&records[2].headers), Some(UploadPart::Manifest { chunks: 2, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_coded_upload_is_stored_decoded() {
    let test_app = TestApp::new();
    let body = export(1_000);
    let zstd = zstd::encode_all(body.as_slice(), 1).unwrap();
    assert_eq!(test_app.post(PATH).header("content-encoding", "zstd").send(frames(&zstd)).await.status, 200);
    test_app.last(|record| {
        assert_eq!(record.body, body);
        assert_eq!(record.headers.content_hmac, content_hmac(&body));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_at_the_limit_is_accepted() {
    for more in [0, 1_000] {
        let body = export(CHUNK_BYTES + more);
        let test_app = TestApp::with(LogBehaviour::Stores, |config| config.upload_bytes_max = body.len() as u64);
        assert_eq!(test_app.post(PATH).send(frames(&body)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_a_token_above_1_mib_is_refused() {
    let test_app = TestApp::new();
    let endless = format!("<HealthData><Record value='{}'/></HealthData>", "x".repeat(2 * 1024 * 1024));
    let answer = test_app.post(PATH).send(frames(endless.as_bytes())).await;
    assert_eq!(answer.problem(400), "malformed");
    assert!(answer.json()["detail"].as_str().unwrap().contains("longer than 1 MiB"));
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_are_too_large_or_incomplete_get_no_manifest() {
    let test_app = TestApp::with(LogBehaviour::Stores, |config| config.upload_bytes_max = CHUNK_BYTES as u64 * 2);
    let body = export(CHUNK_BYTES * 3);
    assert_eq!(test_app.post(PATH).send(frames(&body)).await.problem(413), "too-large");
    // With and without Content-Length, and also with a content coding.
    let stored = test_app.stored();
    let answer = test_app.post(PATH).header("content-length", &body.len().to_string()).send(frames(&body)).await;
    assert_eq!((answer.problem(413).as_str(), test_app.stored()), ("too-large", stored), "refused before it is read");
    let bomb = zstd::encode_all(body.as_slice(), 1).unwrap();
    assert_eq!(
        test_app.post(PATH).header("content-encoding", "zstd").send(frames(&bomb)).await.problem(413),
        "too-large"
    );

    let half = Bytes::from(export(CHUNK_BYTES * 3)[..CHUNK_BYTES * 3 / 2].to_vec());
    let broken_off = Body::from_stream(futures_util::stream::iter([Ok(half), Err(std::io::Error::other("gone"))]));
    let stored = test_app.stored();
    assert_eq!(test_app.post(PATH).send(broken_off).await.problem(400), "body-broken-off");
    assert_eq!(test_app.stored(), stored, "a chunk that was not received whole is not stored");
    let records = test_app.log.records.lock().unwrap();
    assert!(records.iter().all(|record| matches!(part(&record.headers), Some(UploadPart::Chunk { .. }))));
}

/// Returns a body that is sent piece by piece through the channel. The channel has room for one piece.
fn piecewise() -> (mpsc::Sender<Bytes>, Body) {
    let (pieces, taken) = mpsc::channel::<Bytes>(1);
    let taken = futures_util::stream::unfold(taken, async |mut taken| {
        let piece = taken.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), taken))
    });
    (pieces, Body::from_stream(taken))
}

/// Sends an export of equal pieces, until the body is dropped or `count` pieces have been sent.
async fn drip(pieces: mpsc::Sender<Bytes>, piece: Bytes, every: Duration, count: usize) {
    let mut taken = pieces.send(Bytes::from("<HealthData>")).await.is_ok();
    for _ in 0..count {
        tokio::time::sleep(every).await;
        taken = taken && pieces.send(piece.clone()).await.is_ok();
        if !taken {
            return;
        }
    }
    let _gone = pieces.send(Bytes::from("</HealthData>")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_uploads_than_allowed_run_at_once() {
    let test_app = TestApp::with(LogBehaviour::Stores, |config| {
        (config.uploads_max, config.produce_timeout) = (1, Duration::from_millis(50));
    });
    let (pieces, body) = piecewise();
    let first = tokio::spawn(test_app.post(PATH).send(body));
    pieces.send("<HealthData>".into()).await.unwrap();
    drop(pieces.reserve().await.unwrap());
    let second = test_app.post(PATH).send("<HealthData/>").await;
    assert_eq!(second.problem(503), "unavailable");
    pieces.send("</HealthData>".into()).await.unwrap();
    drop(pieces);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(test_app.post(PATH).send("<HealthData/>").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stalls_ends_long_before_its_time_limit() {
    let test_app = TestApp::with(LogBehaviour::Stores, |config| config.body_timeout = Duration::from_millis(300));
    let given_up = async |body| {
        let answer = tokio::time::timeout(Duration::from_secs(30), test_app.post(PATH).send(body)).await;
        assert_eq!(answer.expect("the upload is refused in time").problem(408), "body-timeout");
    };
    let (stalled, body) = piecewise();
    stalled.send("<HealthData>".into()).await.unwrap();
    given_up(body).await;
    let (dripping, body) = piecewise();
    // Faster than that, but still too slow.
    tokio::spawn(drip(dripping, " ".repeat(100).into(), Duration::from_millis(10), usize::MAX));
    given_up(body).await;
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_makes_progress_ends_at_its_time_limit() {
    for (upload_timeout, status) in [(Duration::from_mins(1), 200), (Duration::from_millis(500), 408)] {
        let test_app = TestApp::with(LogBehaviour::Stores, |config| {
            (config.body_timeout, config.upload_timeout) = (Duration::from_secs(1), upload_timeout);
        });
        let (steady, body) = piecewise();
        tokio::spawn(drip(steady, "<a/>".repeat(16 * 1024).into(), Duration::from_millis(100), 20));
        assert_eq!(test_app.post(PATH).send(body).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_in_which_kafka_is_slow_does_not_count_against_the_client() {
    const SLOW: Duration = Duration::from_secs(3);
    let test_app = TestApp::with(LogBehaviour::AcknowledgesAfter(SLOW), |config| config.body_timeout = SLOW * 2 / 3);
    let (steady, body) = piecewise();
    // Fewer bytes than after which the time limit begins again.
    let piece = Bytes::from("<a/>".repeat(5 * 1024));
    let count = 4 * CHUNK_BYTES / piece.len();
    tokio::spawn(drip(steady, piece, Duration::from_millis(1), count));
    assert_eq!(test_app.post(PATH).send(body).await.status, 200);
    assert_eq!(test_app.log.unanswered_max.load(Ordering::SeqCst), 3, "chunks that wait for Kafka at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_accepted_only_when_all_of_it_is_acknowledged() {
    let body = export(CHUNK_BYTES * 3 + 1_000);
    for refused in 0..=4 {
        let test_app = TestApp::with(LogBehaviour::RejectsOne(refused), |_| {});
        assert_eq!(test_app.post(PATH).send(frames(&body)).await.problem(503), "unavailable", "record {refused}");
        let records = test_app.log.records.lock().unwrap();
        assert!(records.iter().all(|record| matches!(part(&record.headers), Some(UploadPart::Chunk { .. }))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_outage_during_an_upload_is_answered_with_503() {
    for behaviour in [
        LogBehaviour::PartitionsUnknown,
        LogBehaviour::QueueFull,
        LogBehaviour::Rejects,
        LogBehaviour::DropsAcknowledgement,
    ] {
        let test_app = TestApp::with(behaviour, |_| {});
        assert_eq!(test_app.post(PATH).send(frames(&export(CHUNK_BYTES * 4))).await.problem(503), "unavailable");
    }
}
