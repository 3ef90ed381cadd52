//! One Kafka for all tests of the binary; each test owns its topics by a prefix.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use schemas::topic::Topics;
use service::{kafka::KafkaSettings, topics};
use tempfile::TempDir;

use super::cluster::free_port;

pub(crate) struct Broker {
    child: Mutex<Child>,
    pub(crate) settings: KafkaSettings,
    _dir: TempDir,
}

static RUNNING: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Broker {
    pub(crate) fn get() -> Arc<Self> {
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(Self::start());
            *running = Arc::downgrade(&broker);
            broker
        })
    }

    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let libs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.kafka/libs");
        assert!(libs.exists(), "Kafka's jars are missing: run make setup");
        let (port, controller) = (free_port(), free_port());
        let properties = dir.path().join("server.properties");
        std::fs::write(
            &properties,
            format!(
                "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
                 log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
                 transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                 transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\n\
                 share.coordinator.state.topic.min.isr=1\nshare.coordinator.state.topic.num.partitions=1\n\
                 group.initial.rebalance.delay.ms=0\nlog.cleaner.dedupe.buffer.size=8388608\n\
                 auto.create.topics.enable=false\n",
                dir.path().join("logs").display()
            ),
        )
        .unwrap();
        let java = |class: &str| {
            let mut command = Command::new("java");
            command
                .args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-cp"])
                .arg(format!("{}/*", libs.display()))
                .arg(class)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let formatted = java("kafka.tools.StorageTool")
            .args(["format", "-t", "c2luay10ZXN0cy0wMDAwMQ", "-c"])
            .arg(&properties)
            .status()
            .unwrap();
        assert!(formatted.success());
        let child = java("kafka.Kafka").arg(&properties).spawn().unwrap();
        let settings = KafkaSettings::new(&format!("127.0.0.1:{port}"));
        let probe: BaseConsumer = settings.client().create().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while probe.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < deadline, "Kafka does not come up");
        }
        Self { child: Mutex::new(child), settings, _dir: dir }
    }

    /// Topics of one's own.
    pub(crate) async fn topics(&self) -> Topics {
        let own = Topics::new(&format!("t{}.", COUNT.fetch_add(1, Ordering::SeqCst)));
        let size = topics::Size { partitions: 2, replication: 1 };
        let settings = self.settings.client();
        topics::apply(&settings, &own, size).await.map(|_| ()).unwrap();
        own
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
