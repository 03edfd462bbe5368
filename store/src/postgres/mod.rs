//! The Postgres driver: any number of processes on one database.

mod admin;
mod attempts;
mod conn;
mod dags;
mod data;
mod failure;
mod finish;
mod listen;
mod plan;
mod queueing;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tradewind_postgres::Target as Server;

use self::conn::{Conn, Tx};
use self::failure::Res;
use crate::specs::SpecCache;
use crate::url::{PostgresTarget, Target};
use crate::{Error, Options};

/// How long a call waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Wake-ups that a slow receiver may fall behind by; they carry nothing, so losing some is harmless.
const WAKEUPS_MAX: usize = 16;

/// The metadata store in a Postgres database.
pub struct PostgresStore {
    pool: Pool,
    schema: Option<String>,
    specs: Arc<SpecCache>,
    wake: broadcast::Sender<()>,
    listener: JoinHandle<()>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl PostgresStore {
    /// Prepares connections to the database; none is made yet. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] when the URL cannot be used.
    pub fn connect(url: &str, options: &Options) -> Result<Self, Error> {
        match crate::url::parse(url)? {
            Target::Postgres(target) => Self::new(target, options),
            _ => Err(Error::Config("not a Postgres URL".to_owned())),
        }
    }

    pub(crate) fn new(target: PostgresTarget, options: &Options) -> Result<Self, Error> {
        let mut server = Server::parse(&target.url, options.ca_file.as_deref(), "tradewind")
            .map_err(|bad| Error::Config(format!("the database URL cannot be used: {bad}")))?;
        let mut settings = target.options;
        let mut set = |setting: &str| settings.push_str(&format!(" -c {setting}"));
        if let Some(schema) = &target.schema {
            set(&format!("search_path=\"{schema}\""));
        }
        let timeout = options.statement_timeout.as_millis();
        set(&format!("statement_timeout={timeout}"));
        set(&format!("lock_timeout={timeout}"));
        // Every statement is prepared once and goes by an index. Left to itself, the server plans array
        // parameters anew for each call, which takes longer than running them, and keeps the scans that
        // it found cheap while the tables were small.
        for plan in ["plan_cache_mode=force_generic_plan", "enable_seqscan=off", "jit=off"] {
            set(plan);
        }
        // Who loses its client in a transaction must not hold its locks for long.
        set(&format!("idle_in_transaction_session_timeout={timeout}"));
        server.config.options(settings.trim_start());
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let (config, tls) = (server.config.clone(), server.tls.clone());
        let manager = Manager::from_config(config, tls, recycling);
        let pool = Pool::builder(manager)
            .max_size(options.postgres_connections.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|e| Error::Config(format!("the connection pool cannot be made: {e}")))?;
        let wake = broadcast::channel(WAKEUPS_MAX).0;
        let payload = target.schema.clone().unwrap_or_default();
        let listener = tokio::spawn(listen::run(server, payload, wake.clone()));
        Ok(Self { pool, schema: target.schema, specs: Arc::default(), wake, listener })
    }

    /// A connection for statements that stand alone.
    async fn conn(&self) -> Res<Conn> {
        Ok(Conn::new(self.pool.get().await?))
    }

    /// A connection for a transaction, which begins with its first statement.
    async fn begin(&self) -> Res<Tx> {
        Ok(Tx::new(self.pool.get().await?))
    }

    /// What `NOTIFY` carries, so that deployments in other schemas sleep on.
    fn payload(&self) -> &str {
        self.schema.as_deref().unwrap_or_default()
    }

    /// A lock that only this schema's processes take, by purpose.
    fn lock_key(&self, purpose: &str) -> i64 {
        let name = format!("tradewind/{}/{purpose}", self.payload());
        let hex = tradewind_proto::sign::sha256_hex(name.as_bytes());
        // 15 hexadecimal digits always fit.
        i64::from_str_radix(&hex[..15], 16).unwrap_or(0)
    }
}
