//! Stopping a stage while it has a request in progress.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    payload::glucose,
    world::{Stage, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_at_sigterm_is_answered_before_the_process_ends() {
    let mut world = World::start().await;
    let address = world.client.address().to_owned();
    let body = glucose(0).to_string();
    let head = format!(
        "POST /health-data/medisante/standard-json HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        world.client.key,
        body.len()
    );
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n", "the request is in progress");

    let answered = async {
        // Once the port is closed, the process has received SIGTERM.
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (ended, answer) = tokio::join!(world.terminate((Stage::Ingress, 0), Duration::from_secs(10)), answered);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ended, "the process ends after the answer");
    world.until_count("SELECT count(*) FROM readings", 1).await;
}
