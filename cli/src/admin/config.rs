//! `config list | get-value`.

use serde_json::json;

use crate::config::{Config, KEYS, redact};
use crate::failure::Failure;
use crate::output::{Format, print, row};

pub(crate) fn list(config: &Config, format: Format) -> Result<(), Failure> {
    let mut rows: Vec<_> = KEYS
        .iter()
        .map(|key| {
            let setting = config.setting(key.section, key.name);
            row([
                ("section", json!(key.section)),
                ("key", json!(key.name)),
                ("value", json!(redact(key.kind, &setting.text))),
                ("source", json!(setting.source)),
                ("meaning", json!(key.doc)),
            ])
        })
        .collect();
    rows.extend(config.routes.iter().map(|route| {
        row([
            ("section", json!("routes")),
            ("key", json!(route.pattern)),
            ("value", json!(route.target_text())),
            ("source", json!("configuration file")),
            ("meaning", json!("Where the tasks go that match")),
        ])
    }));
    print(format, &["section", "key", "value", "source", "meaning"], &rows)?;
    if !config.unknown_airflow.is_empty() {
        eprintln!("Without meaning here: {}", config.unknown_airflow.join(", "));
    }
    Ok(())
}

pub(crate) fn get_value(config: &Config, section: &str, name: &str) -> Result<(), Failure> {
    let key = KEYS.iter().find(|key| key.section == section && key.name == name);
    let key = key.ok_or_else(|| {
        Failure::new(format!("The option [{section}/{name}] is not found in config."))
    })?;
    println!("{}", redact(key.kind, &config.setting(section, name).text));
    Ok(())
}
