//! What only the file can hold: `[routes]`, and a table per name under `[tasks]` and `[beat]`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ConfigError;

/// Sections whose entries are tables with names of the user's choice.
pub(crate) const TABLES: &[&str] = &["tasks", "beat"];

/// One entry of `[routes]`: where the tasks go whose name matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RouteEntry {
    /// A name, a glob (`etl.*`), or a regular expression (`re:^etl\.`).
    pub(crate) pattern: String,
    pub(crate) target: RouteTarget,
}

/// Where a route leads; at least one of queue, exchange and routing key is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteTarget {
    pub(crate) queue: Option<String>,
    pub(crate) exchange: Option<String>,
    pub(crate) routing_key: Option<String>,
    pub(crate) priority: Option<u8>,
}

impl RouteEntry {
    /// Reads a queue name, or a table.
    pub(crate) fn read(
        source: &str,
        pattern: &str,
        value: &toml::Value,
    ) -> Result<Self, ConfigError> {
        let target = match value {
            toml::Value::String(queue) => {
                RouteTarget { queue: Some(queue.clone()), ..RouteTarget::default() }
            }
            toml::Value::Table(_) => deserialize(source, value)?,
            _ => RouteTarget::default(),
        };
        let texts = [&target.queue, &target.exchange, &target.routing_key];
        let named = texts.iter().any(|text| text.is_some());
        let empty = texts.iter().any(|text| text.as_deref() == Some(""));
        if pattern.is_empty() || !named || empty {
            return Err(ConfigError(format!(
                "{source} must name a queue, as in \"etl.*\" = \"heavy\" or \
                 \"etl.*\" = {{ queue = \"heavy\", priority = 6 }} \
                 (also exchange and routing_key)"
            )));
        }
        Ok(Self { pattern: pattern.to_owned(), target })
    }

    /// The queue that it names, if any.
    pub(crate) fn queue(&self) -> Option<&str> {
        self.target.queue.as_deref()
    }

    /// The target as one text, for listings.
    pub(crate) fn target_text(&self) -> String {
        let RouteTarget { queue, exchange, routing_key, priority } = &self.target;
        let mut parts: Vec<String> = queue.iter().cloned().collect();
        parts.extend(exchange.iter().map(|text| format!("exchange={text}")));
        parts.extend(routing_key.iter().map(|text| format!("routing_key={text}")));
        parts.extend(priority.iter().map(|number| format!("priority={number}")));
        parts.join(" ")
    }
}

/// One `[section."name"]`.
#[derive(Debug, Clone)]
pub(crate) struct TableEntry {
    pub(crate) section: &'static str,
    pub(crate) name: String,
    pub(crate) value: toml::Value,
    pub(crate) source: String,
}

impl TableEntry {
    /// The table as a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        deserialize(&self.source, &self.value)
    }
}

fn deserialize<T: DeserializeOwned>(source: &str, value: &toml::Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value.clone()).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(", {path}") };
        ConfigError(format!("{source}{place}: {}", error.inner().to_string().trim_end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RouteEntry, ConfigError> {
        let table: toml::Table = toml::from_str(text).expect("TOML");
        RouteEntry::read("tradewind.toml [routes] p", "p", &table["p"])
    }

    #[test]
    fn routes_are_queues_or_tables() {
        assert_eq!(read("p = 'heavy'").expect("valid").queue(), Some("heavy"));
        let route = read("p = { queue = 'q', exchange = 'x', routing_key = 'k', priority = 3 }");
        let route = route.expect("valid");
        assert_eq!(route.target_text(), "q exchange=x routing_key=k priority=3");
        for (text, expected) in [
            ("p = 3", "must name a queue"),
            ("p = {}", "must name a queue"),
            ("p = { queue = '' }", "must name a queue"),
            ("p = { qeue = 'q' }", "qeue"),
            ("p = { queue = 'q', priority = 300 }", "priority"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected) && error.contains("[routes] p"), "{error}");
        }
    }
}
