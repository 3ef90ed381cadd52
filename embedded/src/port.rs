//! Loopback ports for the children.

use std::net::{Ipv4Addr, TcpListener};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Below the kernel's ephemeral port range, so that no outgoing connection occupies a port that is reused after a restart.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Returns a free port.
pub(super) fn pick() -> u16 {
    let mut random = StdRng::from_os_rng();
    std::iter::repeat_with(|| random.random_range(RANGE)).take(1_000).find(|port| is_free(*port)).unwrap_or(RANGE.start)
}

/// Keeps `port` if it is free, otherwise replaces it by a free one.
pub(super) fn keep_or_pick(port: &mut u16) {
    if !is_free(*port) {
        *port = pick();
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
