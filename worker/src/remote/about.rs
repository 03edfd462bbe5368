//! What a worker says of its broker in `inspect stats`. Pure.

use reqwest::Url;
use serde_json::{Value, json};

/// The members of Celery's answer (kombu's `Connection.info`), which Flower shows; no password.
pub fn broker_info(url: &str, connect_timeout_s: f64, heartbeat_s: u64) -> Value {
    let Ok(url) = Url::parse(url) else { return Value::Null };
    let host = url.path().trim_start_matches('/').replace("%2f", "/").replace("%2F", "/");
    let usual = if url.scheme().starts_with("redis") { "0" } else { "/" };
    let host = if host.is_empty() { usual.to_owned() } else { host };
    json!({
        "hostname": url.host_str(),
        "userid": Some(url.username()).filter(|name| !name.is_empty()),
        "virtual_host": host,
        "port": url.port(),
        "insist": false,
        "ssl": matches!(url.scheme(), "rediss" | "amqps"),
        "transport": url.scheme(),
        "connect_timeout": connect_timeout_s,
        "transport_options": {},
        "login_method": null,
        "uri_prefix": null,
        "heartbeat": heartbeat_s,
        "failover_strategy": "round-robin",
        "alternates": [],
        "credential_provider": null,
    })
}

#[cfg(test)]
mod tests {
    use super::broker_info;

    #[test]
    fn a_broker_is_shown_without_its_password() {
        let info = broker_info("amqps://ann:hunter2@host:5671/shop", 4.0, 10);
        assert_eq!((&info["hostname"], &info["userid"]), (&"host".into(), &"ann".into()));
        assert_eq!((&info["virtual_host"], &info["port"]), (&"shop".into(), &5671.into()));
        assert_eq!((&info["ssl"], &info["heartbeat"]), (&true.into(), &10.into()));
        assert!(!info.to_string().contains("hunter2"));
        assert_eq!(broker_info("amqp://host/%2f", 1.0, 1)["virtual_host"], "/");
        assert_eq!(broker_info("redis://host", 1.0, 1)["virtual_host"], "0");
        assert!(broker_info("no URL", 1.0, 1).is_null());
    }
}
