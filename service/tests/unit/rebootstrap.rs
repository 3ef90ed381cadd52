//! A client whose cluster returned no broker connects again.
//!
//! The test uses a fake broker, because a real one returns metadata without brokers only for some milliseconds while it shuts
//! down, and not on demand. The fake implements the two requests that a client needs to learn its brokers (Kafka protocol,
//! ApiVersions and Metadata version 0).

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use service::{kafka::KafkaSettings, rebootstrap::Rebootstrap};

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

#[test]
fn a_client_that_knows_no_broker_uses_the_bootstrap_servers_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let fenced = Arc::new(AtomicBool::new(false));
    let is_fenced = Arc::clone(&fenced);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let is_fenced = Arc::clone(&is_fenced);
            thread::spawn(move || broker(connection.unwrap(), port, &is_fenced));
        }
    });
    let settings = KafkaSettings::new(&format!("127.0.0.1:{port}"));
    let mut config: ClientConfig = settings.client();
    let consumer: BaseConsumer = config.set("group.id", "rebootstrap").create().unwrap();
    let brokers = |wait| consumer.fetch_metadata(None, wait).map(|metadata| metadata.brokers().len()).ok();
    let mut rebootstrap = Rebootstrap::new(&settings.bootstrap);

    assert_eq!(brokers(PATIENCE), Some(1));
    fenced.store(true, Ordering::SeqCst);
    // The client also requests metadata by itself; it forgets its brokers whichever request is answered first.
    let told = Instant::now();
    while brokers(Duration::from_secs(1)).is_some() {
        assert!(told.elapsed() < PATIENCE, "a client whose metadata names no broker forgets its brokers");
    }
    fenced.store(false, Ordering::SeqCst);
    assert_eq!(
        brokers(Duration::from_secs(3)),
        None,
        "librdkafka reconnects by itself: rebootstrap is no longer needed"
    );

    assert!(!rebootstrap.check(consumer.client()), "the client may still be contacting its bootstrap servers");
    let started = Instant::now();
    while !rebootstrap.check(consumer.client()) {
        assert!(started.elapsed() < PATIENCE, "a client without brokers is detected");
        thread::sleep(POLL);
    }
    assert!(started.elapsed() >= Duration::from_secs(1), "it is checked once a second");
    while brokers(Duration::from_secs(1)) != Some(1) {
        assert!(started.elapsed() < PATIENCE, "the client contacts the bootstrap server again");
    }
    let known_since = Instant::now();
    while known_since.elapsed() < Duration::from_secs(5) {
        assert!(!rebootstrap.check(consumer.client()), "nothing is done for a client that knows its brokers");
        thread::sleep(POLL);
    }
}

/// Answers requests until the client closes the connection.
fn broker(mut connection: TcpStream, port: u16, is_fenced: &AtomicBool) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        connection.read_exact(&mut length)?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        connection.read_exact(&mut request)?;
        let key = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let body = match key {
            API_VERSIONS => api_versions(if version == 0 { 0 } else { UNSUPPORTED_VERSION }),
            METADATA => metadata(port, is_fenced.load(Ordering::SeqCst)),
            other => panic!("the fake broker does not implement the request {other}"),
        };
        let mut answer = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        answer.extend(&request[4..8]);
        answer.extend(body);
        connection.write_all(&answer)?;
    }
}

fn api_versions(error: i16) -> Vec<u8> {
    let mut body = error.to_be_bytes().to_vec();
    body.extend(2_i32.to_be_bytes());
    for key in [API_VERSIONS, METADATA] {
        body.extend([key, 0, 0].iter().flat_map(|number| number.to_be_bytes()));
    }
    body
}

/// Returns metadata with one topic without partitions, and one broker or none. librdkafka allocates memory by the length of the
/// response, and too little for a very short one; hence the long topic name.
fn metadata(port: u16, is_fenced: bool) -> Vec<u8> {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let mut body = i32::from(!is_fenced).to_be_bytes().to_vec();
    if !is_fenced {
        body.extend(1_i32.to_be_bytes());
        body.extend(text("127.0.0.1"));
        body.extend(i32::from(port).to_be_bytes());
    }
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(text(&"topic".repeat(40)));
    body.extend(0_i32.to_be_bytes());
    body
}
