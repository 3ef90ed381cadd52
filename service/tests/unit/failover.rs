use std::time::Duration;

use service::topics::Failover;

#[test]
fn the_failover_time_follows_from_the_sessions_that_the_brokers_allow() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let nothing = Failover::default();
    assert_eq!((nothing.consumer(), nothing.classic()), (None, seconds(10)), "a session and two heartbeats");
    let consumer = Failover { consumer_session: seconds(45), consumer_heartbeat: seconds(5), ..nothing };
    assert_eq!(consumer.consumer(), seconds(50));
    for (min, classic) in [(8, seconds(10)), (9, None)] {
        assert_eq!(Failover { classic_session_min: seconds(min), ..nothing }.classic(), classic, "{min}");
    }
}
