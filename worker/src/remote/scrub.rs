//! Takes credentials out of what `stats` and `conf` show. Pure.

use serde_json::Value;

const HIDDEN: &str = "********";
const SECRET_WORDS: [&str; 7] =
    ["password", "passwd", "secret", "token", "private_key", "credential", "fernet"];

/// Hides values whose names sound secret, and passwords inside URLs, at any depth.
pub fn scrub(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| {
                    let shown = if is_secret(&name) && !value.is_null() && !value.is_boolean() {
                        Value::String(HIDDEN.to_owned())
                    } else {
                        scrub(value)
                    };
                    (name, shown)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(scrub).collect()),
        Value::String(text) => Value::String(scrub_urls(&text)),
        other => other,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) || name == "authorization"
}

/// Hides what stands between `://` and the last `@` of an authority, except the user's name. A broker
/// setting may hold several URLs.
fn scrub_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find([';', ' ', '"', '\'']).unwrap_or(after.len());
        // A password may hold a slash by mistake: look for the last @ before the next URL.
        let next = after.find("://").unwrap_or(after.len());
        let authority = &after[..end.min(next)];
        rest = after;
        if let Some(at) = authority.rfind('@') {
            let user = authority[..at].split(':').next().unwrap_or_default();
            out.push_str(user);
            if user.len() < at {
                out.push_str(":**");
            }
            rest = &after[at..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::scrub;

    #[test]
    fn passwords_are_hidden_wherever_they_are() {
        let shown = scrub(json!({
            "broker_url": "amqp://user:geheim@host:5672/vhost",
            "result_backend": "redis://:geheim/2@host/0",
            "brokers": ["redis://a:geheim@h1/0;redis://b:geheim@h2/0", "redis://h3/0"],
            "security": {"signing_secret": "geheim", "api_token": ["geheim"], "secret": null},
            "worker_concurrency": 4,
        }));
        assert!(!shown.to_string().contains("geheim"), "{shown}");
        assert_eq!(shown["broker_url"], "amqp://user:**@host:5672/vhost");
        assert_eq!(shown["result_backend"], "redis://:**@host/0");
        assert_eq!(shown["brokers"][0], "redis://a:**@h1/0;redis://b:**@h2/0");
        assert_eq!(shown["brokers"][1], "redis://h3/0");
        assert_eq!(shown["worker_concurrency"], 4);
        assert_eq!(shown["security"]["secret"], json!(null));
    }
}
