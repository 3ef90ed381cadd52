//! The faults, and when one has hit work in flight.

pub mod clock;
pub(crate) mod inject;
mod network;
mod postgres;
mod restore;
mod server;
mod stage;
pub mod target;
mod topic;

use crate::process::Stage;

/// A step of the delivery at which a process ends itself, in builds with the feature `fail-points`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailPoint {
    /// The stage.
    pub stage: Stage,
    /// The name in the code.
    pub name: &'static str,
}

const fn point(stage: Stage, name: &'static str) -> FaultKind {
    FaultKind::FailPoint(FailPoint { stage, name })
}

/// A server of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The broker.
    Kafka,
    /// The database.
    Postgres,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// SIGKILL of a process at a random time.
    Kill(Stage),
    /// A process that ends between two steps of the delivery.
    FailPoint(FailPoint),
    /// SIGTERM of a process under load.
    Terminate(Stage),
    /// SIGSTOP of a process for longer than its group waits, then SIGCONT.
    Freeze(Stage),
    /// Steps of the clock of a process, forward and backward.
    StepClock(Stage),
    /// All processes are restarted, one after the other.
    RollingRestart,
    /// Another process of a stage joins, and leaves.
    MemberComesAndGoes(Stage),
    /// SIGKILL of a server, and a start.
    KillServer(Server),
    /// An orderly stop of a server, and a start.
    RestartServer(Server),
    /// SIGSTOP of the broker, then SIGCONT.
    FreezeBroker,
    /// The broker can write to no file, and is started again when it has stopped because of that.
    BrokerDiskFull,
    /// The network in front of a server is slow.
    Slow(Server),
    /// The network in front of a server delivers nothing.
    Silent(Server),
    /// Connections to a server are reset several times.
    Reset(Server),
    /// Postgres accepts no writes.
    ReadOnly,
    /// Postgres accepts no more connections.
    NoConnections,
    /// Postgres ends the sink's sessions during COMMIT.
    CommitTerminated,
    /// The sink's connections break during COMMIT, and Postgres commits.
    CommitCut,
    /// A table is locked.
    TableLocked,
    /// Transactions fail because the disk of Postgres is full.
    DiskFull,
    /// Transactions fail with serialization failures.
    SerializationFailures,
    /// Transactions fail as victims of deadlocks.
    Deadlocks,
    /// The database is replaced by an older dump of it.
    OlderDump,
    /// Records that are not the ingress's are at the head of raw partitions.
    PoisonRecords,
    /// The topic of dead letters accepts no records.
    DeadLettersRefused,
}

/// What two faults may not share when they are injected together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Stages(Option<Stage>),
    Kafka,
    Postgres,
    PostgresAndSinks,
}

impl FaultKind {
    /// All kinds that every build can inject.
    pub const PLAIN: [Self; 38] = [
        Self::Kill(Stage::Ingress),
        Self::Kill(Stage::Normalizer),
        Self::Kill(Stage::Sink),
        Self::Terminate(Stage::Ingress),
        Self::Terminate(Stage::Normalizer),
        Self::Terminate(Stage::Sink),
        Self::Freeze(Stage::Ingress),
        Self::Freeze(Stage::Normalizer),
        Self::Freeze(Stage::Sink),
        Self::StepClock(Stage::Ingress),
        Self::StepClock(Stage::Normalizer),
        Self::StepClock(Stage::Sink),
        Self::RollingRestart,
        Self::MemberComesAndGoes(Stage::Normalizer),
        Self::MemberComesAndGoes(Stage::Sink),
        Self::KillServer(Server::Kafka),
        Self::RestartServer(Server::Kafka),
        Self::FreezeBroker,
        Self::BrokerDiskFull,
        Self::Slow(Server::Kafka),
        Self::Silent(Server::Kafka),
        Self::Reset(Server::Kafka),
        Self::KillServer(Server::Postgres),
        Self::RestartServer(Server::Postgres),
        Self::Slow(Server::Postgres),
        Self::Silent(Server::Postgres),
        Self::Reset(Server::Postgres),
        Self::ReadOnly,
        Self::NoConnections,
        Self::CommitTerminated,
        Self::CommitCut,
        Self::TableLocked,
        Self::DiskFull,
        Self::SerializationFailures,
        Self::Deadlocks,
        Self::OlderDump,
        Self::PoisonRecords,
        Self::DeadLettersRefused,
    ];

    /// The kinds that require a build with fail points.
    pub const FAIL_POINTS: [Self; 11] = [
        point(Stage::Ingress, "ingress-before-append"),
        point(Stage::Ingress, "ingress-before-answer"),
        point(Stage::Normalizer, "normalizer-mapped"),
        point(Stage::Normalizer, "normalizer-produced"),
        point(Stage::Normalizer, "normalizer-acknowledged"),
        point(Stage::Normalizer, "normalizer-committed"),
        point(Stage::Sink, "sink-received"),
        point(Stage::Sink, "sink-prepared"),
        point(Stage::Sink, "sink-letters-produced"),
        point(Stage::Sink, "sink-committed"),
        point(Stage::Sink, "sink-reported"),
    ];

    /// The name in reports and on the command line.
    #[must_use]
    pub fn name(self) -> String {
        let of_server = |server| match server {
            Server::Kafka => "kafka",
            Server::Postgres => "postgres",
        };
        match self {
            Self::Kill(stage) => format!("kill-{}", stage.name()),
            Self::FailPoint(point) => format!("at-{}", point.name),
            Self::Terminate(stage) => format!("terminate-{}", stage.name()),
            Self::Freeze(stage) => format!("freeze-{}", stage.name()),
            Self::StepClock(stage) => format!("step-clock-{}", stage.name()),
            Self::RollingRestart => "rolling-restart".to_owned(),
            Self::MemberComesAndGoes(stage) => format!("join-and-leave-{}", stage.name()),
            Self::KillServer(server) => format!("kill-{}", of_server(server)),
            Self::RestartServer(server) => format!("restart-{}", of_server(server)),
            Self::FreezeBroker => "freeze-kafka".to_owned(),
            Self::BrokerDiskFull => "kafka-disk-full".to_owned(),
            Self::Slow(server) => format!("slow-network-{}", of_server(server)),
            Self::Silent(server) => format!("cut-network-{}", of_server(server)),
            Self::Reset(server) => format!("reset-network-{}", of_server(server)),
            Self::ReadOnly => "postgres-read-only".to_owned(),
            Self::NoConnections => "postgres-no-connections".to_owned(),
            Self::CommitTerminated => "postgres-ends-commit".to_owned(),
            Self::CommitCut => "network-cut-in-commit".to_owned(),
            Self::TableLocked => "postgres-table-locked".to_owned(),
            Self::DiskFull => "postgres-disk-full".to_owned(),
            Self::SerializationFailures => "postgres-serialization-failures".to_owned(),
            Self::Deadlocks => "postgres-deadlocks".to_owned(),
            Self::OlderDump => "restore-older-dump".to_owned(),
            Self::PoisonRecords => "poison-records".to_owned(),
            Self::DeadLettersRefused => "dead-letters-refused".to_owned(),
        }
    }

    /// Returns the kind with a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::PLAIN.into_iter().chain(Self::FAIL_POINTS).find(|kind| kind.name() == name)
    }

    const fn ground(self) -> Ground {
        match self {
            Self::Kill(stage)
            | Self::Terminate(stage)
            | Self::Freeze(stage)
            | Self::StepClock(stage)
            | Self::MemberComesAndGoes(stage) => Ground::Stages(Some(stage)),
            Self::FailPoint(point) => Ground::Stages(Some(point.stage)),
            Self::RollingRestart => Ground::Stages(None),
            Self::FreezeBroker | Self::BrokerDiskFull | Self::PoisonRecords | Self::DeadLettersRefused => Ground::Kafka,
            Self::KillServer(server)
            | Self::RestartServer(server)
            | Self::Slow(server)
            | Self::Silent(server)
            | Self::Reset(server) => match server {
                Server::Kafka => Ground::Kafka,
                Server::Postgres => Ground::Postgres,
            },
            Self::ReadOnly
            | Self::NoConnections
            | Self::CommitTerminated
            | Self::CommitCut
            | Self::TableLocked
            | Self::DiskFull
            | Self::SerializationFailures
            | Self::Deadlocks => Ground::Postgres,
            Self::OlderDump => Ground::PostgresAndSinks,
        }
    }

    /// Whether the broker answers late or not at all.
    pub(crate) fn disturbs_kafka(self) -> bool {
        self.ground() == Ground::Kafka
    }

    /// Whether two faults can be injected at the same time, so that each is still what its name says.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        match (self.ground(), other.ground()) {
            (Ground::Stages(Some(one)), Ground::Stages(Some(two))) => one != two,
            (Ground::Stages(_), Ground::Stages(_)) => false,
            (Ground::PostgresAndSinks, other) | (other, Ground::PostgresAndSinks) => {
                matches!(other, Ground::Kafka | Ground::Stages(Some(Stage::Ingress | Stage::Normalizer)))
            }
            (one, two) => one != two,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_its_own_name() {
        let all: BTreeSet<FaultKind> = FaultKind::PLAIN.into_iter().chain(FaultKind::FAIL_POINTS).collect();
        let names: BTreeSet<String> = all.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), all.len());
        for kind in all {
            assert_eq!(FaultKind::from_name(&kind.name()), Some(kind));
        }
    }

    #[test]
    fn faults_of_one_server_are_not_injected_together() {
        assert!(!FaultKind::ReadOnly.goes_with(FaultKind::KillServer(Server::Postgres)));
        assert!(!FaultKind::RollingRestart.goes_with(FaultKind::Kill(Stage::Sink)));
        assert!(!FaultKind::Freeze(Stage::Sink).goes_with(FaultKind::Kill(Stage::Sink)));
        assert!(!FaultKind::OlderDump.goes_with(FaultKind::Kill(Stage::Sink)));
        assert!(!FaultKind::ReadOnly.goes_with(FaultKind::OlderDump));
        assert!(FaultKind::OlderDump.goes_with(FaultKind::Kill(Stage::Normalizer)));
        assert!(FaultKind::Freeze(Stage::Sink).goes_with(FaultKind::Kill(Stage::Ingress)));
        assert!(FaultKind::Silent(Server::Kafka).goes_with(FaultKind::Kill(Stage::Ingress)));
    }
}
