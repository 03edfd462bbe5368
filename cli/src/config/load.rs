//! Merging the layers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keys::{self, KEYS, Key, Kind};
use super::tables::{RouteEntry, TABLES, TableEntry};
use super::value::{check, redact};
use super::{Config, ConfigError, Setting};

/// Everything that configuration is read from.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// `TRADEWIND_HOME`.
    pub(crate) home: PathBuf,
    /// The file and its text, if there is one.
    pub(crate) file: Option<(PathBuf, String)>,
    /// Values that only take the place of defaults: section, key, value, and what they come from.
    pub(crate) fallbacks: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    /// The environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Flags: (section, key, flag as typed, value).
    pub(crate) flags: Vec<(&'static str, &'static str, &'static str, String)>,
}

/// What a file holds besides single values.
#[derive(Debug, Default)]
struct FileParts {
    routes: Vec<RouteEntry>,
    tables: Vec<TableEntry>,
}

type Settings = BTreeMap<(&'static str, &'static str), Setting>;

/// Merges and checks all layers.
pub(crate) fn load(inputs: &Inputs) -> Result<Config, ConfigError> {
    let mut settings = defaults(inputs);
    for (section, name, text, source) in &inputs.fallbacks {
        set(&mut settings, find(section, name, source)?, (*text).to_owned(), (*source).to_owned())?;
    }
    let file = match &inputs.file {
        Some((path, text)) => read_file(&path.display().to_string(), text, &mut settings)?,
        None => FileParts::default(),
    };
    let unknown_airflow = read_foreign_env(inputs, &mut settings)?;
    read_own_env(inputs, &mut settings)?;
    for (section, name, flag, text) in &inputs.flags {
        let key = find(section, name, flag)?;
        set(&mut settings, key, translate(key, text), (*flag).to_owned())?;
    }
    let FileParts { routes, tables } = file;
    Ok(Config { home: inputs.home.clone(), settings, routes, tables, unknown_airflow })
}

fn defaults(inputs: &Inputs) -> Settings {
    let home = inputs.home.display().to_string();
    KEYS.iter()
        .map(|key| {
            let text = key.default.replace("{home}", &home);
            ((key.section, key.name), Setting { text, source: "default".to_owned() })
        })
        .collect()
}

fn set(
    settings: &mut Settings,
    key: &'static Key,
    text: String,
    source: String,
) -> Result<(), ConfigError> {
    // Empty means unset, as with Airflow's variables in compose files.
    if text.is_empty() {
        return Ok(());
    }
    if let Err(expected) = check(key.kind, &text) {
        let shown = redact(key.kind, &text);
        return Err(ConfigError(format!(
            "[{}] {} = {shown:?} (from {source}) is not valid: expected {expected}",
            key.section, key.name
        )));
    }
    settings.insert((key.section, key.name), Setting { text, source });
    Ok(())
}

fn find(section: &str, name: &str, source: &str) -> Result<&'static Key, ConfigError> {
    keys::find(section, name).ok_or_else(|| {
        let near: Vec<&str> =
            KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        let hint = if near.is_empty() {
            let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
            sections.dedup();
            format!("known sections: {}, routes, {}", sections.join(", "), TABLES.join(", "))
        } else {
            format!("keys of [{section}]: {}", near.join(", "))
        };
        ConfigError(format!("unknown key [{section}] {name} (from {source}); {hint}"))
    })
}

fn read_file(path: &str, text: &str, settings: &mut Settings) -> Result<FileParts, ConfigError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|e| ConfigError(format!("{path}: not valid TOML: {e}")))?;
    let mut parts = FileParts::default();
    for (section, value) in table {
        let toml::Value::Table(entries) = value else {
            return Err(ConfigError(format!("{path}: {section} must be a [section]")));
        };
        for (name, value) in entries {
            let source = format!("{path} [{section}] {name}");
            if section == "routes" {
                parts.routes.push(RouteEntry::read(&source, &name, &value)?);
            } else if let Some(section) = TABLES.iter().find(|known| **known == section) {
                parts.tables.push(TableEntry { section, name, value, source });
            } else {
                let key = find(&section, &name, path)?;
                set(settings, key, plain(key, &value, &source)?, source)?;
            }
        }
    }
    Ok(parts)
}

fn plain(key: &Key, value: &toml::Value, source: &str) -> Result<String, ConfigError> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(yes) => Ok(yes.to_string()),
        toml::Value::Array(items) if key.kind == Kind::List => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            let texts = texts
                .ok_or_else(|| ConfigError(format!("{source}: expected an array of strings")))?;
            Ok(texts.join(","))
        }
        other => Err(ConfigError(format!("{source}: a {} is not valid here", other.type_str()))),
    }
}

/// Names of Airflow, Celery and Flower: those that mean something here are taken, the rest of
/// Airflow's is returned.
fn read_foreign_env(inputs: &Inputs, settings: &mut Settings) -> Result<Vec<String>, ConfigError> {
    let mut known = Vec::new();
    for key in KEYS {
        // The first name listed is the newest one and wins.
        for name in key.aliases.iter().rev() {
            if let Some(text) = inputs.env.get(*name) {
                let text = translate(key, text);
                set(settings, key, text, format!("environment {name}"))?;
                known.push(*name);
            }
        }
    }
    let unknown = inputs
        .env
        .keys()
        .filter(|name| name.starts_with("AIRFLOW__") && !known.contains(&name.as_str()));
    Ok(unknown.cloned().collect())
}

/// Others spell some URLs their own way: `db+postgresql+psycopg2://` is a result backend in Postgres,
/// and Celery takes `rpc` alone.
pub(crate) fn translate(key: &Key, text: &str) -> String {
    match (key.section, text.split_once("://")) {
        ("results", Some((scheme, rest))) if scheme.starts_with("db+postgresql") => {
            format!("postgresql://{rest}")
        }
        ("results", None) if text == "rpc" => "rpc://".to_owned(),
        // Celery's short forms of the server on this machine.
        ("broker" | "results", Some(("redis", ""))) => "redis://127.0.0.1:6379/0".to_owned(),
        ("broker", Some(("amqp" | "pyamqp", ""))) => {
            "amqp://guest:guest@127.0.0.1:5672/".to_owned()
        }
        _ => text.to_owned(),
    }
}

fn read_own_env(inputs: &Inputs, settings: &mut Settings) -> Result<(), ConfigError> {
    for (name, text) in &inputs.env {
        let Some(rest) = name.strip_prefix("TRADEWIND__") else { continue };
        let Some((section, key)) = rest.split_once("__") else {
            return Err(ConfigError(format!(
                "environment {name} is not of the form TRADEWIND__SECTION__KEY"
            )));
        };
        let source = format!("environment {name}");
        let key = find(&section.to_ascii_lowercase(), &key.to_ascii_lowercase(), &source)?;
        set(settings, key, text.clone(), source)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(file: &str, env: &[(&str, &str)]) -> Inputs {
        Inputs {
            home: PathBuf::from("/h"),
            file: Some((PathBuf::from("tradewind.toml"), file.to_owned())),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Inputs::default()
        }
    }

    #[test]
    fn later_layers_win_and_say_where_from() {
        let mut inputs = inputs(
            "[broker]\nurl = 'redis://a/0'\n[worker]\nqueues = ['a', 'b']\n",
            &[("AIRFLOW__CELERY__BROKER_URL", "redis://b/0"), ("TRADEWIND__WEB__PORT", "9000")],
        );
        inputs.flags.push(("worker", "concurrency", "-c", "3".to_owned()));
        let config = load(&inputs).expect("valid");
        assert_eq!(config.text("broker", "url"), "redis://b/0");
        assert_eq!(
            config.setting("broker", "url").source,
            "environment AIRFLOW__CELERY__BROKER_URL"
        );
        assert_eq!(config.list("worker", "queues"), ["a", "b"]);
        assert_eq!(config.int("web", "port"), 9000);
        assert_eq!(config.int("worker", "concurrency"), 3);
        assert_eq!(config.text("database", "url"), "sqlite:////h/tradewind.db");
        assert_eq!(config.results_url(), "redis://b/0");
    }

    #[test]
    fn refusals_name_key_source_and_forms() {
        let refusal = |file: &str, env: &[(&str, &str)]| {
            load(&inputs(file, env)).expect_err("refused").to_string()
        };
        let text = refusal("[broker]\nurl = 'kafka://u:pw@x'\n", &[]);
        for part in ["[broker] url", "tradewind.toml", "amqp://…", "u:***@x"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("pw"), "{text}");
        let text = refusal("[brokr]\nurl = 'x'\n", &[]);
        assert!(text.contains("known sections"), "{text}");
        let text = refusal("", &[("TRADEWIND__WORKER__CONCURENCY", "1")]);
        assert!(text.contains("keys of [worker]"), "{text}");
        let text = refusal("", &[("TRADEWIND__WORKER__CONCURRENCY", "zero")]);
        assert!(text.contains("from 1 to 10000"), "{text}");
    }

    #[test]
    fn routes_keep_their_order_and_unknown_airflow_names_are_listed() {
        let celery = [("CELERY_BROKER_URL", "redis://"), ("CELERY_RESULT_BACKEND", "rpc")];
        let config = load(&inputs("", &celery)).expect("valid");
        assert_eq!(config.text("broker", "url"), "redis://127.0.0.1:6379/0");
        assert_eq!(config.results_url(), "rpc://");
        assert_eq!(config.state_url(), "redis://127.0.0.1:6379/0");
        let file = "[routes]\n\"z.*\" = \"one\"\n\"a.*\" = \"two\"\n";
        let config = load(&inputs(file, &[("AIRFLOW__SMTP__HOST", "x")])).expect("valid");
        let patterns: Vec<&str> =
            config.routes.iter().map(|route| route.pattern.as_str()).collect();
        assert_eq!(patterns, ["z.*", "a.*"]);
        assert_eq!(config.unknown_airflow, ["AIRFLOW__SMTP__HOST"]);
    }
}
