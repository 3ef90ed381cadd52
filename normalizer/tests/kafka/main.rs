//! Tests of the loop on a real Kafka, which the tests start themselves.

#[cfg(test)]
mod catalogues;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod positions;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod rebalance;
#[cfg(test)]
#[path = "../mapping/record.rs"]
#[expect(dead_code, reason = "the other test binaries use the rest")]
mod record;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod world;
