//! The real Kafka and Postgres of all figures, and the processes that run on them.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use embedded::{DataDir, Embedded, EmbeddedConfig};
use ingress::keys::{NewKey, Scope};
use service::kafka::KafkaSettings;

use crate::{Result, plan::Plan, process::Process, round::Side};

const START_LIMIT: Duration = Duration::from_mins(1);

/// Kafka, Postgres, and a folder for data and logs.
pub(crate) struct Stack {
    embedded: Embedded,
    pub(crate) settings: KafkaSettings,
    pub(crate) database_url: String,
    pub(crate) dir: PathBuf,
    binary: PathBuf,
    against: Option<PathBuf>,
    _temporary: Option<tempfile::TempDir>,
}

/// A stage of the product that is ready.
pub(crate) struct Stage {
    pub(crate) process: Process,
    /// The address of its HTTP interface, if the stage has one.
    pub(crate) http: SocketAddr,
}

/// A build of the product and the arguments with which it is started.
#[derive(Clone, Copy)]
pub(crate) struct Program<'p> {
    pub(crate) build: &'p Path,
    pub(crate) arguments: &'p [&'p str],
}

/// An API key that may send everything.
pub(crate) struct Key {
    pub(crate) secret: String,
    keys_file: PathBuf,
    receipt_key_file: PathBuf,
}

impl Stack {
    /// Starts Kafka and Postgres.
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        for binary in [Some(&plan.binary), plan.against.as_ref()].into_iter().flatten() {
            if !binary.exists() {
                let binary = binary.display();
                return Err(format!("{binary} does not exist: cargo build --release -p device-manager -p bench").into());
            }
        }
        let temporary = plan.data_dir.is_none().then(tempfile::tempdir).transpose()?;
        let dir = match (&plan.data_dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err("no data directory".into()),
        };
        let config = EmbeddedConfig { kafka: true, postgres: true, kafka_home: None, kafka_proxied: None };
        let embedded = Embedded::start(DataDir::acquire(&dir.join("data"))?, config).await?;
        let settings = KafkaSettings::new(embedded.kafka_bootstrap().ok_or("Kafka was not started")?);
        let database_url = embedded.database_url().ok_or("Postgres was not started")?.to_owned();
        let (binary, against) = (plan.binary.clone(), plan.against.clone());
        Ok(Self { embedded, settings, database_url, dir, binary, against, _temporary: temporary })
    }

    /// Stops Kafka and Postgres.
    pub(crate) async fn stop(self) {
        self.embedded.stop().await;
    }

    /// Creates an API key, and the receipt key if it does not exist.
    pub(crate) fn key(&self) -> Result<Key> {
        let (keys_file, receipt_key_file) = (self.dir.join("keys.json"), self.dir.join("receipt.key"));
        if !receipt_key_file.exists() {
            write_secret(&receipt_key_file, &"5a".repeat(32))?;
        }
        let new = NewKey {
            id: None,
            source: "bench".to_owned(),
            scopes: vec![Scope::HealthDataWrite, Scope::DevicesWrite],
            providers: None,
            defaults: None,
            not_before: None,
            expires_at: None,
        };
        let (_, secret) = ingress::keys::create(&keys_file, new)?;
        Ok(Key { secret: secret.reveal().to_owned(), keys_file, receipt_key_file })
    }

    /// Returns the binary of a side: the build under test, or the build that it is compared with, if there is one.
    pub(crate) fn build(&self, side: Side) -> Option<&Path> {
        match side {
            Side::Product => Some(&self.binary),
            Side::Peer => self.against.as_deref(),
        }
    }

    /// Starts `device-manager <stage>` on topics with `prefix`, and waits until `/ready` answers 200.
    pub(crate) async fn stage(
        &self,
        stage: &[&str],
        prefix: &str,
        database_url: Option<&str>,
        key: Option<&Key>,
    ) -> Result<Stage> {
        self.stage_of(Program { build: &self.binary, arguments: stage }, prefix, database_url, key).await
    }

    /// The same with a given build. Settings are passed as environment variables: a build ignores unknown ones, but rejects unknown
    /// flags.
    pub(crate) async fn stage_of(
        &self,
        program: Program<'_>,
        prefix: &str,
        database_url: Option<&str>,
        key: Option<&Key>,
    ) -> Result<Stage> {
        let (http, management) = (free_address()?, free_address()?);
        let (http_port, management_address) = (http.port().to_string(), management.to_string());
        let mut environment = vec![
            ("KAFKA_BOOTSTRAP_SERVERS", self.settings.bootstrap.as_str()),
            ("TOPIC_PREFIX", prefix),
            ("HTTP_PORT", &http_port),
            ("MANAGEMENT_ADDRESS", &management_address),
            ("SINK_MIGRATE", "true"),
            ("LOG_LEVEL", "warn"),
            ("DATABASE_URL", database_url.unwrap_or(&self.database_url)),
        ];
        let (keys_file, receipt_key_file);
        if let Some(key) = key {
            (keys_file, receipt_key_file) = (key.keys_file.to_string_lossy(), key.receipt_key_file.to_string_lossy());
            environment.push(("KEYS_FILE", &keys_file));
            environment.push(("RECEIPT_KEY_FILE", &receipt_key_file));
        }
        let mut process = Process::start(program.build, program.arguments, &environment, &self.log("product"))?;
        let ready = process.until("the stage is ready", START_LIMIT, async || is_ok(management, "/ready").await).await;
        ready.map_err(|error| format!("{error}; its log:\n{}", last_lines(&self.log("product"))))?;
        Ok(Stage { process, http })
    }

    /// Starts `device-manager replay` of the provider Medisanté, which writes its report to a file.
    pub(crate) fn replay(&self, prefix: &str, database_url: &str, key: &Key, report: &Path) -> Result<Process> {
        let receipt_key_file = key.receipt_key_file.to_string_lossy();
        let environment = [
            ("KAFKA_BOOTSTRAP_SERVERS", self.settings.bootstrap.as_str()),
            ("TOPIC_PREFIX", prefix),
            ("DATABASE_URL", database_url),
            ("RECEIPT_KEY_FILE", &receipt_key_file),
        ];
        let report = report.to_string_lossy();
        let args = ["replay", "--provider", "medisante", "--report", &report];
        Process::start(&self.binary, args, &environment, &self.log("product"))
    }

    /// Starts one of the bench's own peers.
    pub(crate) fn peer(&self, args: &[&str]) -> Result<Process> {
        Process::start(&std::env::current_exe()?, args, &[], &self.log("peer"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

/// Returns a loopback address whose port is currently free.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Returns whether a GET is answered with 200.
pub(crate) async fn is_ok(address: SocketAddr, path: &'static str) -> bool {
    tokio::task::spawn_blocking(move || get(address, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
        .await
        .unwrap_or(false)
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(secret.as_bytes())?;
    Ok(())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
