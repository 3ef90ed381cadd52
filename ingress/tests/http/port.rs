//! The HTTP server: slow clients, shutdown, and the preconditions of a start.

use std::time::Duration;

use ingress::IngressError;
use metrics::Counter;
use service::{
    cluster::Cluster,
    health::Health,
    http::listener::{ConnectionLimits, HttpPort},
    kafka::KafkaSettings,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::test_app::TestApp;

pub(crate) struct Port {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn port(test_app: &TestApp, change: impl FnOnce(&mut ConnectionLimits)) -> Port {
    let listener = ingress::listen(&test_app.config).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut limits = ConnectionLimits::from(&test_app.config);
    change(&mut limits);
    let http_port = HttpPort { listener, limits, connections_broken: Counter::noop() };
    let served = tokio::spawn(http_port.serve(test_app.app.clone(), shutdown.clone()));
    Port { address, shutdown, served }
}

fn cluster(bootstrap: &str) -> Cluster {
    Cluster { settings: KafkaSettings::new(bootstrap), topics: schemas::topic::Topics::new("") }
}

pub(crate) fn head(test_app: &TestApp, length: usize) -> String {
    format!(
        "POST /health-data/healthkit/json HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {length}\r\n\r\n",
        test_app.key
    )
}

/// Reads one response with a receipt, which is a JSON object.
pub(crate) async fn receipt(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "the connection stays open");
    }
    String::from_utf8(text).unwrap()
}

pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut text)).await;
    read.expect("the connection is closed in time").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_disconnected() {
    let test_app = TestApp::new();
    let port = port(&test_app, |limits| limits.header_timeout = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(b"POST /health-data/healthkit/json HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let _answer = rest(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_gets_the_response() {
    let test_app = TestApp::new();
    let port = port(&test_app, |_| {}).await;
    // Larger than the buffers between client and server.
    let body = vec![b'x'; 4 * 1024 * 1024 - 1];
    for (key, status) in [(true, "413"), (false, "401")] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        let mut stream = socket.connect(port.address).await.unwrap();
        let head = head(&test_app, body.len()).replace("x-api-key", if key { "x-api-key" } else { "x-other" });
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.expect("the server reads the whole body");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[..], format!("HTTP/1.1 {status}").as_bytes());
    }
}

#[tokio::test]
async fn invalid_http_is_answered_with_400_or_431() {
    let test_app = TestApp::new();
    let port = port(&test_app, |_| {}).await;
    let mut endless = head(&test_app, 2).replace("\r\n\r\n", "\r\nx-long: ");
    endless.push_str(&"a".repeat(64 * 1024 - endless.len()));
    let chunked = head(&test_app, 2).replace("content-length: 2", "transfer-encoding: chunked");
    for (request, status) in [
        (head(&test_app, 2).replace("host: x", "host: x\r\ncontent-length: 3") + "{}", "400"),
        (format!("{chunked}no-number\r\n{{}}\r\n0\r\n\r\n"), "400"),
        // As many bytes as the server reads of a head, without the end of the head.
        (endless, "431"),
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("a response before the connection is closed");
        assert_eq!(&answer[..], format!("HTTP/1.1 {status}").as_bytes());
    }
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn a_request_in_progress_is_answered_before_the_shutdown() {
    let test_app = TestApp::new();
    let mut port = port(&test_app, |_| {}).await;
    let _idle = TcpStream::connect(port.address).await.unwrap();
    let mut busy = TcpStream::connect(port.address).await.unwrap();
    // A complete exchange first, so that the server has certainly accepted the connection.
    busy.write_all(format!("{}{{}}", head(&test_app, 2)).as_bytes()).await.unwrap();
    assert!(receipt(&mut busy).await.starts_with("HTTP/1.1 200"));
    // The server sends 100 Continue only once it is handling the request.
    let head = head(&test_app, 2).replace("host: x", "host: x\r\nexpect: 100-continue");
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    busy.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    port.shutdown.cancel();
    let refused = async { while TcpStream::connect(port.address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("no more connections are accepted");
    // A server that does not wait has ended within this time; a server that waits passes however long it takes.
    let ended = tokio::time::timeout(Duration::from_millis(100), &mut port.served).await;
    assert!(ended.is_err(), "the shutdown waits for the request in progress");
    busy.write_all(b"{}").await.unwrap();
    assert!(rest(&mut busy).await.contains("HTTP/1.1 200"));
    tokio::time::timeout(Duration::from_secs(10), port.served).await.expect("the server ends").unwrap().unwrap();
    assert_eq!(test_app.stored(), 2);
}

#[tokio::test]
async fn the_shutdown_waits_at_most_the_drain_timeout() {
    let test_app = TestApp::new();
    let port = port(&test_app, |limits| limits.drain_timeout = Duration::from_millis(100)).await;
    let mut busy = TcpStream::connect(port.address).await.unwrap();
    let head = head(&test_app, 2).replace("host: x", "host: x\r\nexpect: 100-continue");
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.read_exact(&mut [0; 25]).await.unwrap();
    port.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), port.served).await.expect("the server ends").unwrap().unwrap();
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_served() {
    let test_app = TestApp::new();
    let port = port(&test_app, |limits| limits.connections_max = 1).await;
    let mut first = TcpStream::connect(port.address).await.unwrap();
    let mut second = TcpStream::connect(port.address).await.unwrap();
    let request = |body: &str| format!("{}{body}", head(&test_app, body.len()));
    first.write_all(request("{}").as_bytes()).await.unwrap();
    receipt(&mut first).await;
    second.write_all(request("{\"a\":2}").as_bytes()).await.unwrap();
    // Far longer than the second connection would need: its request waits all the while.
    for _ in 0..200 {
        first.write_all(request("{}").as_bytes()).await.unwrap();
        receipt(&mut first).await;
    }
    let all_of_the_first = test_app.log.records.lock().unwrap().iter().all(|record| record.body == b"{}");
    assert!(all_of_the_first && test_app.stored() == 201, "the second connection waits");
    drop(first);
    assert!(receipt(&mut second).await.starts_with("HTTP/1.1 200"));
    test_app.last(|record| assert_eq!(record.body, b"{\"a\":2}"));
}

#[tokio::test]
async fn many_new_connections_wait_in_the_accept_queue() {
    let test_app = TestApp::new();
    let listener = ingress::listen(&test_app.config).unwrap();
    let address = listener.local_addr().unwrap();
    // Nothing is accepted yet: all connections are in the accept queue.
    let mut waiting = Vec::new();
    for number in 0..400 {
        let connected = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
        waiting.push(connected.unwrap_or_else(|_| panic!("connection {number} is dropped")).unwrap());
    }
}

#[tokio::test]
async fn the_ingress_refuses_to_start_with_unsafe_or_unusable_settings() {
    let test_app = TestApp::new();
    let run = async |change: &dyn Fn(&mut ingress::IngressConfig), address: &str| {
        let mut config = test_app.config.clone();
        change(&mut config);
        let listener = TcpListener::bind(address).await.unwrap();
        let cluster = cluster("127.0.0.1:1");
        let ended = CancellationToken::new();
        ended.cancel();
        ingress::run(config, listener, cluster, Health::new().stage("ingress"), ended).await
    };
    let secret = test_app.directory().join("receipt.key");
    assert!(matches!(run(&|_| {}, "127.0.0.1:0").await, Err(IngressError::ReceiptKey(_))));
    service::secret::load_or_create(&secret).unwrap();
    assert!(run(&|_| {}, "127.0.0.1:0").await.is_ok());
    let open = run(&|_| {}, "0.0.0.0:0").await.unwrap_err();
    assert!(matches!(open, IngressError::PlainHttp { .. }) && open.to_string().contains("TLS_TERMINATOR"));
    assert!(run(&|config| config.tls_terminator = Some("a proxy".to_owned()), "0.0.0.0:0").await.is_ok());
    let large = run(&|config| config.body_bytes_max = usize::MAX, "127.0.0.1:0").await;
    assert!(matches!(large, Err(IngressError::BodyLimit { .. })));
    std::fs::write(&test_app.keys_file, "{\"keys\":[]}").unwrap();
    assert!(matches!(run(&|_| {}, "127.0.0.1:0").await, Err(IngressError::NoCredential { .. })));
    std::fs::remove_file(&test_app.keys_file).unwrap();
    assert!(matches!(run(&|_| {}, "127.0.0.1:0").await, Err(IngressError::Keys(_))));
}
