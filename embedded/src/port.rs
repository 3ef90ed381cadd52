//! Loopback ports for the children.

use std::net::{Ipv4Addr, TcpListener};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Below the range the kernel hands out by itself, so that no outgoing connection sits on a port we come back to.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A free port.
pub(super) fn draw() -> u16 {
    let mut random = StdRng::from_os_rng();
    std::iter::repeat_with(|| random.random_range(RANGE)).take(1_000).find(|port| is_free(*port)).unwrap_or(RANGE.start)
}

/// `port` where it is still free, else another one.
pub(super) fn keep_or_draw(port: &mut u16) {
    if !is_free(*port) {
        *port = draw();
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
