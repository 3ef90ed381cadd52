//! An installation for one seed: topics, a database, keys and processes of its own, on servers that all seeds share.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use schemas::{receipt::ReceiptKey, topic::Topics};
use service::kafka::KafkaSettings;
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::{
    error::ChaosError,
    plan::Plan,
    port::unused_port,
    process::{Member, Processes, Recipe, Stage, Variables},
    servers::Servers,
};

/// The secret from which the keys of an installation are derived. It protects nothing: the data is invented.
const SECRET: [u8; 32] = [0x5a; 32];
/// Variables of this process that a stage gets as well.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TZ", "RUST_LOG"];
/// The source name of the traffic.
pub(crate) const SOURCE: &str = "chaos";
/// The name of the oracle's sessions in Postgres.
pub(crate) const ORACLE: &str = "chaos-oracle";
/// How long an upload may be without its manifest. Longer than any fault, so that no upload is given up that is completed later.
const UPLOAD_WAIT_SECONDS: &str = "20";

/// A database with a worker of autovacuum in it, which belongs to the superuser, is not dropped for anyone else.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// How long such a worker is waited for, and how often its end is looked for.
const AUTOVACUUM_ENDS_WITHIN: Duration = Duration::from_secs(60);
const AUTOVACUUM_POLL: Duration = Duration::from_millis(200);

/// How the processes of an installation are started.
#[derive(Debug, Clone)]
pub struct Build {
    /// The binary `device-manager`.
    pub binary: PathBuf,
    /// Environment variables for all stages, such as CATALOGUE_FILE.
    pub variables: Vec<(String, String)>,
}

/// A running installation.
pub(crate) struct Installation<'s> {
    pub(crate) servers: &'s Servers,
    pub(crate) processes: Arc<Processes>,
    /// The number of processes of each stage.
    pub(crate) per_stage: usize,
    /// Connects to Postgres directly.
    pub(crate) pool: PgPool,
    pub(crate) database: String,
    pub(crate) topics: Topics,
    pub(crate) partitions: u16,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) api_key: String,
    pub(crate) ingress_urls: Vec<String>,
    _supervisor: AbortOnDropHandle<()>,
}

/// What the commands of an installation have in common.
#[derive(Clone)]
struct Setup {
    build: Build,
    directory: PathBuf,
    name: String,
    kafka: String,
    database_url: String,
    ingress_ports: Vec<u16>,
    group_protocol: &'static str,
}

impl<'s> Installation<'s> {
    /// Creates topics, tables and keys, and starts all processes. Files and logs are written to `directory`.
    pub(crate) async fn start(
        servers: &'s Servers,
        build: &Build,
        plan: &Plan,
        directory: &Path,
    ) -> Result<Self, ChaosError> {
        let name = format!("chaos_{}", Uuid::new_v4().simple());
        let (partitions, per_stage) = (3, plan.per_stage);
        fs::create_dir_all(directory).map_err(ChaosError::io(directory))?;
        let directory = directory.canonicalize().map_err(ChaosError::io(directory))?;
        create_database(servers, &name).await?;
        let setup = Setup {
            build: build.clone(),
            directory: directory.clone(),
            kafka: servers.kafka_proxied(),
            database_url: servers.database_proxied(&name),
            ingress_ports: (0..per_stage).map(|_| unused_port()).collect(),
            name: name.clone(),
            group_protocol: if plan.is_classic { "classic" } else { "consumer" },
        };
        let api_key = setup.make_secrets()?;
        setup.run("topics", &["apply", "--partitions", &partitions.to_string()])?;
        let ingress_urls = setup.ingress_ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let recipe: Recipe = Box::new(move |member, management_port, variables| {
            let mut command = setup.stage(member, variables);
            command.args(["--management-address", &format!("127.0.0.1:{management_port}")]);
            command
        });
        let processes = Processes::new(recipe, directory);
        for stage in Stage::ALL {
            for number in 0..per_stage {
                processes.start((stage, number))?;
            }
        }
        let supervisor = processes.supervise();
        Ok(Self {
            servers,
            processes,
            per_stage,
            pool: pool(&servers.database_direct(&name))?,
            database: name.clone(),
            topics: Topics::new(&format!("{name}.")),
            partitions,
            receipt_key: receipt_key(),
            api_key,
            ingress_urls,
            _supervisor: supervisor,
        })
    }

    /// The members of a stage.
    pub(crate) fn members(&self, stage: Stage) -> impl Iterator<Item = Member> + use<> {
        (0..self.per_stage).map(move |number| (stage, number))
    }

    /// The settings with which the oracle reaches Kafka.
    pub(crate) fn kafka(&self) -> KafkaSettings {
        KafkaSettings::new(self.servers.kafka_direct())
    }

    /// Stops all processes and removes the topics and the database.
    pub(crate) async fn remove(self) -> Result<(), ChaosError> {
        self.processes.kill_all();
        let admin: AdminClient<DefaultClientContext> = self.kafka().client().create()?;
        let names: Vec<String> = self.topics.specs().into_iter().map(|spec| spec.name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (name, code) in admin.delete_topics(&names, &AdminOptions::new()).await?.into_iter().filter_map(Result::err)
        {
            tracing::warn!(name, %code, "a topic could not be removed");
        }
        self.pool.close().await;
        drop_database(self.servers, &self.database).await
    }
}

/// The oracle's connections. Faults recognise them by their name, and spare them.
fn pool(url: &str) -> Result<PgPool, ChaosError> {
    let options: PgConnectOptions = url.parse()?;
    Ok(PgPoolOptions::new().max_connections(4).connect_lazy_with(options.application_name(ORACLE)))
}

fn receipt_key() -> ReceiptKey {
    // HMAC accepts keys of any length.
    ReceiptKey::new(&SECRET).unwrap_or_else(|never| unreachable!("{never}"))
}

/// Creates a database.
pub(crate) async fn create_database(servers: &Servers, name: &str) -> Result<(), ChaosError> {
    let mut connection = PgConnection::connect(&servers.database_direct("postgres")).await?;
    connection.execute(format!("CREATE DATABASE {name}").as_str()).await?;
    Ok(connection.close().await?)
}

/// Drops a database, and ends all sessions in it.
pub(crate) async fn drop_database(servers: &Servers, name: &str) -> Result<(), ChaosError> {
    let mut connection = PgConnection::connect(&servers.database_direct("postgres")).await?;
    let deadline = Instant::now() + AUTOVACUUM_ENDS_WITHIN;
    loop {
        match connection.execute(format!("DROP DATABASE {name} WITH (FORCE)").as_str()).await {
            Err(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) && Instant::now() < deadline =>
            {
                tokio::time::sleep(AUTOVACUUM_POLL).await;
            }
            result => {
                result?;
                return Ok(connection.close().await?);
            }
        }
    }
}

impl Setup {
    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Writes the receipt key and creates an API key, which is returned.
    fn make_secrets(&self) -> Result<String, ChaosError> {
        let path = self.directory.join("receipt.key");
        // The file of an earlier run is read-only.
        let _missing = fs::remove_file(&path);
        fs::write(&path, SECRET.map(|byte| format!("{byte:02x}")).concat()).map_err(ChaosError::io(&path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o400)).map_err(ChaosError::io(&path))?;
        let _missing = fs::remove_file(self.directory.join("keys.json"));
        let scopes = ["--scope", "health-data:write", "--scope", "devices:write"];
        let file = self.file("keys.json");
        let arguments = [&["create", "--source", SOURCE, "--file", &file][..], &scopes].concat();
        let said = self.run("keys", &arguments)?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    fn run(&self, name: &'static str, arguments: &[&str]) -> Result<String, ChaosError> {
        let output = self.command(name).args(arguments).output()?;
        if !output.status.success() {
            return Err(ChaosError::Command { name, said: String::from_utf8_lossy(&output.stderr).into_owned() });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command of the binary. It gets none of the variables of this process that could name another installation.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.build.binary);
        command.arg(name).env_clear();
        for variable in INHERITED {
            command.envs(std::env::var_os(variable).map(|value| (variable, value)));
        }
        command.envs(self.build.variables.iter().cloned());
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.kafka).env("TOPIC_PREFIX", format!("{}.", self.name));
        command.env("KAFKA_GROUP_PROTOCOL", self.group_protocol);
        command
    }

    fn stage(&self, (stage, number): Member, variables: &Variables) -> Command {
        let mut command = self.command(stage.name());
        command.args(["--receipt-key-file", &self.file("receipt.key")]);
        match stage {
            Stage::Ingress => {
                let port = self.ingress_ports.get(number).copied().unwrap_or_default().to_string();
                command.args(["--http-port", &port, "--keys-file", &self.file("keys.json")]);
            }
            Stage::Normalizer => {
                let group = format!("{}-normalizer", self.name);
                command.args(["--group", &group, "--upload-wait-seconds", UPLOAD_WAIT_SECONDS]);
            }
            Stage::Sink => {
                command.args(["--group", &format!("{}-sink", self.name), "--migrate"]);
                command.env("DATABASE_URL", &self.database_url);
            }
        }
        command.envs(variables.iter().cloned());
        command
    }
}
