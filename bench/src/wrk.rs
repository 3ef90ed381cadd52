//! Capacity load by wrk: as many requests as the server accepts, each with its own correlation id.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::process::Command;

use crate::{Result, payload};

/// The number of connections: high enough that the rate is not limited to connections divided by linger time.
pub(crate) const CONNECTIONS: u64 = 512;
pub(crate) const PATH: &str = "/health-data/medisante/standard-json";

/// The counts of wrk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Answers with a status below 400.
    pub(crate) accepted: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Sends requests for `span`. `run` makes the correlation ids different from those of other runs.
pub(crate) async fn send(address: SocketAddr, api_key: &str, run: u32, span: Duration) -> Result<Load> {
    let script = write_script(run)?;
    let output = Command::new("wrk")
        .args(["--threads", "2", "--connections", &CONNECTIONS.to_string(), "--timeout", "20s"])
        .args(["--duration", &format!("{}s", span.as_secs())])
        .args(["--header", &format!("X-API-Key: {api_key}"), "--header", "Accept-Encoding: identity"])
        .args(["--header", "Content-Type: application/json; charset=utf-8"])
        .arg("--script")
        .arg(&script)
        .arg(format!("http://{address}{PATH}"))
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("wrk: {error} (apt-get install wrk)"))?;
    fs::remove_file(script)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let load = read(&text).ok_or_else(|| format!("the output of wrk has no line `bench`:\n{text}"))?;
    match load {
        (load, 0, 0) => Ok(load),
        (_, refused, broken) => Err(format!("{refused} requests were refused, {broken} connections broke").into()),
    }
}

fn write_script(run: u32) -> Result<PathBuf> {
    let [head, tail] = payload::glucose_around_correlation_id(5);
    let script = format!(
        "local threads = 0
function setup(thread) thread:set('id', threads); threads = threads + 1 end
function init() number = 0; wrk.method = 'POST' end
function request()
  number = number + 1
  local correlation = string.format('{run:08x}-%04x-4000-8000-%012x', id, number)
  return wrk.format(nil, nil, nil, [==[{head}]==] .. correlation .. [==[{tail}]==])
end
function done(summary, latency)
  local errors = summary.errors
  print(string.format('bench %d %d %d %d %d %d', summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
"
    );
    let path = std::env::temp_dir().join(format!("bench-wrk-{}.lua", std::process::id()));
    fs::write(&path, script)?;
    Ok(path)
}

/// Reads the output of the script: the load, the number of refused requests, and of broken connections.
fn read(output: &str) -> Option<(Load, u64, u64)> {
    let line = output.lines().find_map(|line| line.strip_prefix("bench "))?;
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let [requests, refused, broken, micros, p50, p99] = numbers.try_into().ok()?;
    let load = Load {
        accepted: requests - refused,
        seconds: micros as f64 / 1e6,
        p50_ms: p50 as f64 / 1e3,
        p99_ms: p99 as f64 / 1e3,
    };
    Some((load, refused, broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_the_wrk_script_is_parsed() {
        let (load, refused, broken) = read("Running\nbench 1000 10 0 2000000 5000 9000\n").unwrap();
        assert_eq!((load.accepted, refused, broken), (990, 10, 0));
        assert!((load.seconds - 2.0).abs() < 1e-9 && (load.p99_ms - 9.0).abs() < 1e-9);
        assert!(read("Running\n").is_none());
    }
}
