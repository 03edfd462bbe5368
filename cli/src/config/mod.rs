//! Configuration: defaults, then `tradewind.toml`, then environment names of Airflow, Celery and Flower,
//! then `TRADEWIND__SECTION__KEY`, then flags. Every value remembers where it came from, and every refusal
//! names the key, that source and the valid forms.

mod keys;
mod load;
mod tables;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use keys::KEYS;
pub(crate) use load::{Inputs, load};
pub(crate) use tables::RouteEntry;
pub(crate) use value::{redact, redact_url};

/// A refused configuration. The text is complete: key, source, what was wrong, valid forms.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub(crate) String);

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) text: String,
    pub(crate) source: String,
}

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) home: PathBuf,
    settings: BTreeMap<(&'static str, &'static str), Setting>,
    /// `[routes]`, in file order.
    pub(crate) routes: Vec<RouteEntry>,
    /// `[tasks."name"]` and `[beat."name"]`, in file order.
    tables: Vec<tables::TableEntry>,
    /// Airflow variables that mean nothing here; listed once at start.
    pub(crate) unknown_airflow: Vec<String>,
}

impl Config {
    /// The setting of a key in [`KEYS`].
    pub(crate) fn setting(&self, section: &str, name: &str) -> &Setting {
        let found = keys::find(section, name).and_then(|k| self.settings.get(&(k.section, k.name)));
        found.unwrap_or_else(|| unreachable!("[{section}] {name} is not in the key table"))
    }

    pub(crate) fn text(&self, section: &str, name: &str) -> &str {
        &self.setting(section, name).text
    }

    /// The text, or none when unset.
    pub(crate) fn optional(&self, section: &str, name: &str) -> Option<&str> {
        Some(self.text(section, name)).filter(|text| !text.is_empty())
    }

    pub(crate) fn path(&self, section: &str, name: &str) -> PathBuf {
        let user_home = std::env::home_dir();
        value::resolve(self.text(section, name), &self.home, user_home.as_deref())
    }

    pub(crate) fn int(&self, section: &str, name: &str) -> i64 {
        self.text(section, name).parse().unwrap_or_default()
    }

    pub(crate) fn bool(&self, section: &str, name: &str) -> bool {
        value::parse_bool(self.text(section, name)).unwrap_or_default()
    }

    pub(crate) fn seconds(&self, section: &str, name: &str) -> Duration {
        Duration::from_secs_f64(self.text(section, name).parse().unwrap_or_default())
    }

    pub(crate) fn list(&self, section: &str, name: &str) -> Vec<String> {
        split_list(self.text(section, name))
    }

    /// Every `[section."name"]` of a section that holds tables, read as a `T`.
    pub(crate) fn tables<T: serde::de::DeserializeOwned>(
        &self,
        section: &str,
    ) -> Result<Vec<(String, T)>, ConfigError> {
        let entries = self.tables.iter().filter(|entry| entry.section == section);
        entries.map(|entry| Ok((entry.name.clone(), entry.read()?))).collect()
    }

    /// `MAX,MIN`, or none when unset.
    pub(crate) fn range(&self, section: &str, name: &str) -> Option<(u16, u16)> {
        value::parse_range(self.optional(section, name)?)
    }

    /// A number of seconds where 0 stands for none.
    pub(crate) fn seconds_or_none(&self, section: &str, name: &str) -> Option<Duration> {
        Some(self.seconds(section, name)).filter(|limit| !limit.is_zero())
    }

    /// Where fleet-wide facts are kept: as set, or the first of results and broker that can.
    pub(crate) fn state_url(&self) -> String {
        if let Some(url) = self.optional("state", "url") {
            return url.to_owned();
        }
        let can = |url: &str| {
            let scheme = url.split("://").next().unwrap_or_default();
            let scheme = scheme.trim_start_matches("db+");
            scheme.starts_with("postgres") || scheme.starts_with("redis")
        };
        let candidates = [self.results_url(), self.text("broker", "url").to_owned()];
        candidates.into_iter().find(|url| can(url)).unwrap_or_else(|| "memory://".to_owned())
    }

    /// What a worker consumes: the listed queues but the excluded ones.
    pub(crate) fn worker_queues(&self) -> Vec<String> {
        let excluded = self.list("worker", "exclude_queues");
        let mut queues = self.list("worker", "queues");
        queues.retain(|queue| !excluded.contains(queue));
        queues
    }

    /// Every queue that the configuration names, for commands that are told none.
    pub(crate) fn queues(&self) -> BTreeSet<String> {
        let mut queues: BTreeSet<String> = self.list("worker", "queues").into_iter().collect();
        queues.insert(self.text("broker", "default_queue").to_owned());
        queues.extend(self.routes.iter().filter_map(|route| route.queue().map(str::to_owned)));
        queues
    }

    /// The result backend's URL: as set, or what fits the broker.
    pub(crate) fn results_url(&self) -> String {
        if let Some(url) = self.optional("results", "url") {
            return url.to_owned();
        }
        let broker = self.text("broker", "url");
        match broker.split("://").next() {
            Some("redis" | "rediss") => broker.to_owned(),
            Some("amqp" | "amqps" | "pyamqp") => "rpc://".to_owned(),
            _ => "memory://".to_owned(),
        }
    }

    /// The machine's name, as listings and health checks show it.
    pub(crate) fn hostname(&self) -> String {
        if let Some(name) = self.optional("core", "hostname") {
            return name.to_owned();
        }
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        name.unwrap_or_else(|| "localhost".to_owned())
    }

    /// A path under `TRADEWIND_HOME`.
    pub(crate) fn under_home(&self, path: impl AsRef<Path>) -> PathBuf {
        self.home.join(path)
    }
}

/// Splits `a, b` into its non-empty parts.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
