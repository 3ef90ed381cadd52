//! Open-loop load: every request has a scheduled time, independent of earlier requests, and its latency counts from that time. A
//! slow answer therefore also shows in the latency of the requests that were delayed by it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{Result, payload, wrk};

const CONNECTIONS: u64 = 256;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A load of `count` requests at a fixed `rate` per second.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) api_key: String,
    pub(crate) rate: u64,
    pub(crate) count: u64,
    pub(crate) run: u32,
}

impl Load {
    /// The scheduled time of request `number`, counted from the start.
    pub(crate) const fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(number * 1_000_000_000 / self.rate)
    }
}

/// Sends the load from `start` on. Returns the seconds from each scheduled time to the answer, unsorted. Fails at the first answer
/// that is not 200.
pub(crate) async fn send(load: Arc<Load>, start: Instant) -> Result<Vec<f64>> {
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let load = Arc::clone(&load);
        connections.spawn(async move { serve(&load, connection, start).await });
    }
    let mut latencies = Vec::new();
    while let Some(done) = connections.join_next().await {
        latencies.extend(done??);
    }
    Ok(latencies)
}

/// Sends every `CONNECTIONS`th request on one connection.
async fn serve(load: &Load, connection: u64, start: Instant) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect(load.address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(1024);
    for number in (connection..load.count).step_by(usize::try_from(CONNECTIONS)?) {
        let body = payload::glucose(load.run, number).body;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Accept-Encoding: identity\r\nContent-Length: {}\r\n\r\n{body}",
            wrk::PATH,
            load.api_key,
            body.len()
        );
        let due = start + load.due(number);
        sleep_until(due).await;
        stream.write_all(request.as_bytes()).await?;
        tokio::time::timeout(ANSWER_LIMIT, read_answer(&mut stream, &mut answer)).await??;
        latencies.push(due.elapsed().as_secs_f64());
    }
    Ok(latencies)
}

/// Reads one answer. Fails if it is not 200.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    while !is_complete(answer)? {
        if stream.read_buf(answer).await? == 0 {
            return Err("the connection was closed".into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        Err(format!("the answer was {}", String::from_utf8_lossy(line)).into())
    }
}

fn is_complete(answer: &[u8]) -> Result<bool> {
    let Some(head_bytes) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(answer.get(..head_bytes).unwrap_or_default())?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value.trim())
    });
    let length: usize = length.ok_or("the answer has no Content-Length")?.parse()?;
    Ok(answer.len() >= head_bytes + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_when_its_last_byte_has_arrived() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert!(is_complete(answer).unwrap());
        assert!(!is_complete(&answer[..answer.len() - 1]).unwrap());
        assert!(!is_complete(&answer[..20]).unwrap());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
