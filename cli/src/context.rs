//! What a command works with: configuration, and the connections that it names.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tradewind_broker::client::{Client, Route, Routes};
use tradewind_broker::{Broker, ControlBus, Coordinator, ResultBackend};
use tradewind_proto::clock::{SharedClock, SharedIds, SystemClock, SystemIds};
use tradewind_store::Store;
use tradewind_worker::external::ExternalOptions;

use crate::args::Cli;
use crate::config::{self, Config, Inputs};
use crate::failure::Failure;
use crate::links;

/// Environment variables that are looked at.
const PREFIXES: [&str; 4] = ["TRADEWIND__", "AIRFLOW__", "CELERY_", "FLOWER_"];

/// Configuration, clock and ids of this process.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
}

/// A value given by a flag: section, key, flag, value.
pub(crate) type Flag = (&'static str, &'static str, &'static str, String);

impl Context {
    /// Reads the configuration of a command line.
    pub(crate) fn load(cli: &Cli, mut flags: Vec<Flag>) -> Result<Self, Failure> {
        let home = home(cli)?;
        let file = config_file(cli, &home)?;
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        let fallbacks = cli.celery.fallbacks.clone();
        flags.extend(cli.celery.flags.iter().cloned());
        let config = config::load(&Inputs { home, file, fallbacks, env, flags })?;
        Ok(Self::with_config(config))
    }

    /// A context for a configuration made elsewhere.
    pub(crate) fn with_config(config: Config) -> Self {
        Self { config: Arc::new(config), clock: Arc::new(SystemClock), ids: Arc::new(SystemIds) }
    }

    /// Opens the store; the schema must be this build's.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        let store = self.store_unchecked().await?;
        store.check_schema().await?;
        Ok(store)
    }

    /// Opens the store, whatever its schema.
    pub(crate) async fn store_unchecked(&self) -> Result<Arc<dyn Store>, Failure> {
        fs::create_dir_all(&self.config.home)
            .map_err(|e| Failure::new(format!("{}: {e}", self.config.home.display())))?;
        let options = links::store(&self.config);
        Ok(tradewind_store::open(self.config.text("database", "url"), &options).await?)
    }

    /// Opens the broker.
    pub(crate) async fn broker(&self) -> Result<Arc<dyn Broker>, Failure> {
        let options = links::broker(&self.config)?;
        let url = self.config.text("broker", "url");
        Ok(tradewind_broker::open(url, &options, Arc::clone(&self.clock)).await?)
    }

    /// Opens the result backend.
    pub(crate) async fn results(&self) -> Result<Arc<dyn ResultBackend>, Failure> {
        let options = links::results(&self.config);
        let url = self.config.results_url();
        Ok(tradewind_broker::open_results(&url, &options, Arc::clone(&self.clock)).await?)
    }

    /// Opens the control bus: events and remote control.
    pub(crate) async fn bus(&self) -> Result<Arc<dyn ControlBus>, Failure> {
        let options = links::bus(&self.config);
        let url = self.config.text("broker", "url");
        Ok(tradewind_broker::open_bus(url, &options, Arc::clone(&self.clock)).await?)
    }

    /// Opens the place of fleet-wide facts.
    pub(crate) async fn coordinator(&self) -> Result<Arc<dyn Coordinator>, Failure> {
        let options = links::state(&self.config);
        let url = self.config.state_url();
        Ok(tradewind_broker::open_coordinator_with(&url, &options).await?)
    }

    /// Where fleet tasks go.
    pub(crate) fn routes(&self) -> Result<Routes, Failure> {
        let mut routes = Routes::new(self.config.text("broker", "default_queue"));
        for entry in &self.config.routes {
            let target = &entry.target;
            let route = Route {
                queue: target.queue.clone(),
                exchange: target.exchange.clone(),
                routing_key: target.routing_key.clone(),
                priority: target.priority,
            };
            routes = routes.add(&entry.pattern, route)?;
        }
        for (name, task) in self.config.tables::<ExternalOptions>("tasks")? {
            if let Some(queue) = task.queue {
                routes = routes.add(&name, Route::queue(queue))?;
            }
        }
        Ok(routes)
    }

    /// A client of the fleet.
    pub(crate) async fn client(
        &self,
        coordinator: Arc<dyn Coordinator>,
    ) -> Result<Client, Failure> {
        let (clock, ids) = (Arc::clone(&self.clock), Arc::clone(&self.ids));
        let (broker, results, bus) =
            (self.broker().await?, self.results().await?, self.bus().await?);
        Ok(Client::new(broker, results, bus, coordinator, self.routes()?, clock, ids))
    }

    /// Refuses a fleet role on a database or broker that processes cannot share.
    pub(crate) fn require_shared(&self, role: &str, database: bool) -> Result<(), Failure> {
        if database && self.config.text("database", "url").starts_with("sqlite") {
            return self.refuse(
                role,
                "database",
                "SQLite",
                "postgres://user:password@host:5432/database",
            );
        }
        self.require_broker(role)?;
        if self.config.results_url().starts_with("memory") {
            let setting = self.config.setting("results", "url");
            return Err(Failure::usage(format!(
                "`tradewind {role}` cannot work with in-process results ([results] url, from {}): \
                 set it to redis://…, postgres://… or rpc://, or leave it out",
                setting.source
            )));
        }
        Ok(())
    }

    /// Refuses a command on a broker that processes cannot share.
    pub(crate) fn require_broker(&self, role: &str) -> Result<(), Failure> {
        if !self.config.text("broker", "url").starts_with("memory") {
            return Ok(());
        }
        let instead = "redis://host:6379/0 or amqp://user:password@host:5672/vhost";
        self.refuse(role, "broker", "an in-process broker", instead)
    }

    fn refuse(&self, role: &str, section: &str, what: &str, instead: &str) -> Result<(), Failure> {
        let setting = self.config.setting(section, "url");
        Err(Failure::usage(format!(
            "`tradewind {role}` cannot work with {what} ([{section}] url = {:?}, from {}): \
             other processes could not share it. Set [{section}] url to {instead}, \
             or run everything in one process: `tradewind standalone`",
            config::redact_url(&setting.text),
            setting.source
        )))
    }

    /// The token that web and workers share: configured, or kept in a file of the home folder.
    pub(crate) fn execution_token(&self) -> Result<String, Failure> {
        if let Some(token) = self.config.optional("execution", "token") {
            return Ok(token.to_owned());
        }
        let path = self.config.under_home("execution.token");
        if let Some(token) = read_token(&path)? {
            return Ok(token);
        }
        // Two random UUIDs: 244 bits.
        let token = format!("{}{}", uuid_text(), uuid_text());
        let staging = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::create_dir_all(&self.config.home)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staging)?;
        file.write_all(token.as_bytes())?;
        file.sync_all()?;
        // A hard link fails if another process was first: then its token is the one.
        let linked = fs::hard_link(&staging, &path);
        fs::remove_file(&staging)?;
        match (linked, read_token(&path)?) {
            (_, Some(token)) => Ok(token),
            (Err(error), None) => Err(Failure::new(format!("{}: {error}", path.display()))),
            (Ok(()), None) => Err(Failure::new(format!("{} is empty", path.display()))),
        }
    }

    /// The folder that holds our Python packages.
    pub(crate) fn python_path(&self) -> Result<PathBuf, Failure> {
        crate::assets::extract_python(&self.config.home).map_err(|error| {
            Failure::new(format!(
                "cannot lay out the Python packages under {}: {error}",
                self.config.home.display()
            ))
        })
    }
}

fn uuid_text() -> String {
    // A secret, not an id: a time-ordered one would be weaker.
    uuid::Uuid::new_v4().simple().to_string()
}

fn read_token(path: &std::path::Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))),
    }
}

fn home(cli: &Cli) -> Result<PathBuf, Failure> {
    let path = match &cli.home {
        Some(path) => path.clone(),
        None => std::env::home_dir()
            .ok_or_else(|| Failure::usage("no home folder; set TRADEWIND_HOME"))?
            .join("tradewind"),
    };
    std::path::absolute(&path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

fn config_file(cli: &Cli, home: &std::path::Path) -> Result<Option<(PathBuf, String)>, Failure> {
    let path = cli.config.clone().unwrap_or_else(|| home.join("tradewind.toml"));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && cli.config.is_none() => {
            Ok(None)
        }
        Err(error) => {
            Err(Failure::usage(format!("configuration file {}: {error}", path.display())))
        }
    }
}
