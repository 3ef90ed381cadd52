//! Seeded traffic: every provider and format, repeated and corrected readings, invalid items, and device commands.

pub(crate) mod log;
pub(crate) mod request;
pub(crate) mod sender;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use schemas::{event::DeviceId, format::Provider, identity::device_key};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::ChaosError;
use request::Request;
use sender::Sender;

/// The number of concurrent senders of payloads.
const SENDERS: u32 = 8;
/// The number of devices that are assigned and unassigned.
const DEVICES: u32 = 6;
/// How many of its last requests a sender repeats and corrects.
const RECENT: usize = 40;
/// Larger bodies are sent once: they take most of the time of a run.
const REPEATED_BYTES_MAX: usize = 100_000;
/// How soon a sender notices that it has to hurry.
const PAUSE_STEP: Duration = Duration::from_millis(10);
/// How long a request is repeated after the end of the traffic.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running senders.
pub(crate) struct Traffic {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Traffic {
    /// Starts all senders. Together they send about `rate` requests a second.
    pub(crate) fn start(sender: &Arc<Sender>, seed: u64, rate: u32) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let interval = Duration::from_secs(1) * SENDERS / rate.max(1);
        for number in 0..SENDERS {
            let dice = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number));
            let payloads = Payloads { dice, exports_left: u32::from(number == 0), recent: VecDeque::new() };
            tasks.spawn(send_payloads(Arc::clone(sender), payloads, interval, stop.clone()));
        }
        let dice = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(SENDERS));
        tasks.spawn(send_commands(Arc::clone(sender), dice, interval, stop.clone()));
        Self { tasks, stop }
    }

    /// Ends the traffic. Requests that are not answered yet are repeated for a while.
    pub(crate) async fn stop(mut self) -> Result<(), ChaosError> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// The payloads of one sender.
struct Payloads {
    dice: StdRng,
    /// How many large exports are still to be sent.
    exports_left: u32,
    recent: VecDeque<Request>,
}

impl Payloads {
    fn next(&mut self) -> Request {
        let Self { dice, exports_left, recent } = self;
        let earlier = (!recent.is_empty()).then(|| dice.random_range(0..recent.len())).and_then(|at| recent.get(at));
        let request = match (dice.random_range(0..100), earlier) {
            (0..10, Some(earlier)) => earlier.repeated(dice),
            (10..20, Some(earlier)) => earlier.corrected(dice),
            (20..21, _) if *exports_left > 0 => {
                *exports_left -= 1;
                Request::export(dice)
            }
            _ => Request::new(dice),
        };
        if request.body.len() < REPEATED_BYTES_MAX {
            recent.push_back(request.clone());
        }
        if recent.len() > RECENT {
            recent.pop_front();
        }
        request
    }
}

/// Sends the requests of one sender until `stop`.
async fn send_payloads(sender: Arc<Sender>, mut payloads: Payloads, interval: Duration, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let begun = Instant::now();
        send(&sender, payloads.next(), None, &stop).await;
        pause(&sender, begun + interval, &stop).await;
    }
}

/// Assigns and unassigns devices until `stop`, one command after the other.
async fn send_commands(sender: Arc<Sender>, mut dice: StdRng, interval: Duration, stop: CancellationToken) {
    let mut day = 0;
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let id = format!("PX-{}", dice.random_range(0..DEVICES));
        day += 1;
        // Some commands take effect when they arrive, the others at a time that they name.
        let from = dice.random_bool(0.7).then(|| {
            let (year, month) = (2000 + day / 336, day / 28 % 12 + 1);
            format!("{year}-{month:02}-{:02}T00:00:00Z", day % 28 + 1)
        });
        let request = if dice.random_bool(0.3) {
            let key = DeviceId::parse(&id).map(|id| device_key(Provider::Medisante, &id)).unwrap_or_default();
            let body = from.map_or_else(Vec::new, |from| json!({ "effectiveFrom": from }).to_string().into_bytes());
            Request::command(&mut dice, &format!("{key}/unassign"), body)
        } else {
            let mut body = json!({
                "deviceId": id, "deviceType": "BloodPressureMonitor", "name": "Monitor", "deviceProvider": "medisante",
                "assignedPatientId": format!("patient-{}", dice.random_range(0..4)),
            });
            if let (Some(from), Some(members)) = (from, body.as_object_mut()) {
                members.insert("effectiveFrom".to_owned(), from.into());
            }
            Request::command(&mut dice, "assign", body.to_string().into_bytes())
        };
        send(&sender, request, Some(&id), &stop).await;
        pause(&sender, begun + interval, &stop).await;
    }
}

/// Sends a request until it is answered; after `stop` for some time only.
async fn send(sender: &Sender, request: Request, device: Option<&str>, stop: &CancellationToken) {
    let far = Instant::now() + Duration::from_secs(3_600);
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        _ = sender.send(request, device, far) => {}
        () = stopped => {}
    }
}

/// Waits until the next request is due, unless the senders are in a hurry.
async fn pause(sender: &Sender, until: Instant, stop: &CancellationToken) {
    while Instant::now() < until && !stop.is_cancelled() && !sender.is_hurried() {
        let step = until.saturating_duration_since(Instant::now()).min(PAUSE_STEP);
        tokio::time::sleep(step).await;
    }
}
