//! Tests of the whole pipeline: real stages as child processes, a real Kafka, a real Postgres.
//!
//! Requires Java, Kafka's jars and Postgres, as `make setup` installs them.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod brokers;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod find;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod frozen;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod items;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod outage_load;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod payload;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod replay_kills;
#[cfg(test)]
mod replay_options;
#[cfg(test)]
mod replay_retention;
#[cfg(test)]
mod reprocess;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod skew;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod variables;
#[cfg(test)]
mod without_a_release;
#[cfg(test)]
mod world;
#[cfg(test)]
mod zombie;
