//! Tests of the sink on a real Postgres and a real Kafka, which the tests start themselves.

#[cfg(test)]
mod postgres {
    mod attribution;
    mod contract;
    mod database;
    mod dead_letters;
    mod drift;
    mod dumps;
    mod locks;
    mod migration;
    mod pipeline;
    mod reconcile;
    mod sample;
    mod store;
    mod trouble;
    mod values;
    mod versions;
    mod view;
    mod zombie;
}
