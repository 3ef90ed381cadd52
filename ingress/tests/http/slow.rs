//! Slow clients: none can occupy a connection slot for long, whatever it is slow at.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    port::{head, port, receipt},
    test_app::{LogBehaviour, TestApp},
};

const CONNECTIONS: usize = 8;
const SHORT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How a client tries to keep its connection slot.
#[derive(Debug, Clone, Copy)]
enum Slowness {
    /// Sends nothing.
    Silent,
    /// Sends a part of its headers.
    HalfHeaders,
    /// Sends its headers byte by byte, without end.
    DrippingHeaders,
    /// Sends a part of its body.
    HalfBody,
    /// Sends its body byte by byte.
    DrippingBody,
    /// Sends byte by byte the body of a request whose headers are refused.
    DrippingRefused,
    /// Sends an upload byte by byte.
    DrippingUpload,
    /// Keeps its connection open after a response.
    Idle,
    /// Sends many requests and reads no response.
    Deaf,
    /// Sends large requests, whose responses are large arrays of receipts, and reads no response.
    DeafToReceipts,
    /// Sends many requests, shuts down its sending side and reads no response.
    DeafAndDone,
    /// Reads the responses byte by byte.
    Sipping,
}

impl Slowness {
    const ALL: [Self; 12] = [
        Self::Silent,
        Self::HalfHeaders,
        Self::DrippingHeaders,
        Self::HalfBody,
        Self::DrippingBody,
        Self::DrippingRefused,
        Self::DrippingUpload,
        Self::Idle,
        Self::Deaf,
        Self::DeafToReceipts,
        Self::DeafAndDone,
        Self::Sipping,
    ];

    /// Returns the bytes that are sent at once, and the byte that is then sent repeatedly.
    fn bytes_to_send(self, test_app: &TestApp) -> (Vec<u8>, Option<&'static [u8]>) {
        let whole = head(test_app, 100_000);
        let upload = whole.replace("healthkit/json", "healthkit/export-xml");
        let many = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
        match self {
            Self::Silent => (Vec::new(), None),
            Self::HalfHeaders => (whole.trim_end().into(), None),
            Self::DrippingHeaders => (whole.trim_end().into(), Some(b"x")),
            Self::HalfBody => ([whole.as_bytes(), b"[1,"].concat(), None),
            Self::DrippingBody => (whole.into(), Some(b" ")),
            Self::DrippingRefused => (whole.replace("x-api-key", "x-other").into(), Some(b" ")),
            Self::DrippingUpload => (upload.into(), Some(b" ")),
            Self::Idle => ([head(test_app, 2).as_bytes(), b"{}"].concat(), None),
            Self::Deaf | Self::DeafAndDone | Self::Sipping => (many, None),
            Self::DeafToReceipts => {
                let samples = format!("[{}]", vec!["{}"; 100_000].join(","));
                ((head(test_app, samples.len()) + &samples).repeat(4).into(), None)
            }
        }
    }

    /// Runs until the server closes the connection.
    async fn hold(self, mut stream: TcpStream, bytes: Vec<u8>, drip: Option<&'static [u8]>) {
        let tick = Duration::from_millis(20);
        let (mut from, mut to) = stream.split();
        let send = async {
            let mut sent = to.write_all(&bytes).await;
            while let (Some(byte), Ok(())) = (drip, &sent) {
                tokio::time::sleep(tick).await;
                sent = to.write_all(byte).await;
            }
            if matches!(self, Self::DeafAndDone) {
                let _ended_before = to.shutdown().await;
            }
            // If the connection was closed while sending, there is nothing more to wait for.
            if sent.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let read = async {
            match self {
                Self::Deaf | Self::DeafToReceipts | Self::DeafAndDone => std::future::pending().await,
                Self::Sipping => {
                    while from.read_u8().await.is_ok() {
                        tokio::time::sleep(tick).await;
                    }
                }
                _ => while from.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {},
            }
        };
        tokio::select! { () = send => {} () = read => {} }
    }
}

/// Returns whether another client is served after clients of one kind have taken every connection slot.
async fn serves_another_client(slowness: Slowness) -> bool {
    let test_app = TestApp::with(LogBehaviour::Discards, |config| {
        (config.body_timeout, config.header_timeout, config.write_timeout) = (SHORT, SHORT, SHORT);
        config.uploads_max = CONNECTIONS;
    });
    let port = port(&test_app, |limits| limits.connections_max = CONNECTIONS).await;
    let mut slow = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(port.address).await.unwrap();
        let (bytes, drip) = slowness.bytes_to_send(&test_app);
        slow.spawn(slowness.hold(stream, bytes, drip));
    }
    let mut other = TcpStream::connect(port.address).await.unwrap();
    other.write_all(format!("{}{{}}", head(&test_app, 2)).as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, receipt(&mut other)).await;
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hold_all_connections_do_not_lock_out_another_client() {
    let tries =
        Slowness::ALL.map(|slowness| tokio::spawn(async move { (slowness, serves_another_client(slowness).await) }));
    let mut holding = Vec::new();
    for tried in tries {
        let (slowness, served) = tried.await.unwrap();
        if !served {
            holding.push(slowness);
        }
    }
    assert!(holding.is_empty(), "these keep their connections: {holding:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_whole_response() {
    let test_app = TestApp::new();
    let port = port(&test_app, |limits| limits.write_timeout = SHORT).await;
    let socket = TcpSocket::new_v4().unwrap();
    // A small receive buffer, so that the response waits at the server.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stream = socket.connect(port.address).await.unwrap();
    let samples = format!("[{}]", vec!["{}"; 100_000].join(","));
    let head = head(&test_app, samples.len()).replace("host: x", "host: x\r\nconnection: close");
    stream.write_all((head + &samples).as_bytes()).await.unwrap();
    let (started, mut answer) = (Instant::now(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    while let bytes @ 1.. = stream.read(&mut buffer).await.expect("the connection stays open") {
        answer.extend_from_slice(&buffer[..bytes]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        started.elapsed() > SHORT * 2,
        "the response was read too fast for a meaningful test: {:?}",
        started.elapsed()
    );
    assert!(answer.ends_with(b"}]"), "the response is complete");
}
