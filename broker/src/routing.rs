//! Exchanges: which queues a routing key reaches. Pure; RabbitMQ does this in the server.

use serde::{Deserialize, Serialize};

/// How an exchange compares a routing key with the pattern of a binding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeType {
    /// Equal.
    #[default]
    Direct,
    /// Words between dots; `*` stands for one word, `#` for any number of them.
    Topic,
    /// Always.
    Fanout,
}

impl ExchangeType {
    /// Its name in AMQP and in kombu.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
        }
    }
}

/// The binding of a queue to an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueBinding {
    /// Name of the exchange, which is durable.
    pub exchange: String,
    /// Its type.
    pub exchange_type: ExchangeType,
    /// Key or pattern.
    pub routing_key: String,
}

/// Whether a message with this routing key passes a binding with this pattern.
pub(crate) fn matches(kind: ExchangeType, pattern: &str, key: &str) -> bool {
    match kind {
        ExchangeType::Direct => pattern == key,
        ExchangeType::Topic => {
            let pattern: Vec<&str> = pattern.split('.').collect();
            let key: Vec<&str> = key.split('.').collect();
            topic(&pattern, &key)
        }
        ExchangeType::Fanout => true,
    }
}

/// Compares word by word and remembers the last `#`: takes time in proportion to the product of the
/// lengths at most.
fn topic(pattern: &[&str], key: &[&str]) -> bool {
    let (mut at, mut word) = (0, 0);
    let mut many: Option<(usize, usize)> = None;
    while word < key.len() {
        match pattern.get(at) {
            Some(&"#") => {
                many = Some((at, word));
                at += 1;
            }
            Some(part) if *part == "*" || *part == key[word] => {
                at += 1;
                word += 1;
            }
            _ => {
                let Some((hash, start)) = many else { return false };
                // The `#` stands for one word more.
                many = Some((hash, start + 1));
                (at, word) = (hash + 1, start + 1);
            }
        }
    }
    pattern[at..].iter().all(|part| *part == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_amqp_says() {
        for (pattern, key, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("*.b", "a.b", true),
            ("#", "anything.at.all", true),
            ("#", "", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#.c", "a.b.c", true),
            ("#.c", "c", true),
            ("#.b.#", "a.b.c", true),
            ("#.b.#", "a.c", false),
            ("a.#.b.*.c", "a.x.y.b.z.c", true),
            ("a.#.b.*.c", "a.x.b.b.c", true),
            ("a.#.b.*.c", "a.x.y.b.c", false),
            ("a*", "ab", false),
        ] {
            assert_eq!(matches(ExchangeType::Topic, pattern, key), expected, "{pattern} {key}");
        }
        assert!(!matches(ExchangeType::Direct, "#", "a"));
        assert!(matches(ExchangeType::Fanout, "x", "y"));
    }

    #[test]
    fn a_pattern_full_of_hashes_takes_no_exponential_time() {
        let pattern = ["#"; 60].join(".x.");
        let key = ["x"; 500].join(".");
        assert!(matches(ExchangeType::Topic, &pattern, &key));
        assert!(!matches(ExchangeType::Topic, &format!("{pattern}.y"), &key));
    }
}
