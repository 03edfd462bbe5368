//! Exchanges in Redis: kombu's sets of bindings, read at each routed publish.
//!
//! kombu keeps no types of exchanges in Redis. A binding with a pattern is one of a topic exchange;
//! a durable fanout, which kombu does not have here, is the topic `#`.

use std::collections::BTreeSet;

use super::Inner;
use super::keys::STEP_SEPARATOR;
use crate::limits::dead_letter_queue;
use crate::routing::{ExchangeType, matches};
use crate::{Error, QueueBinding};

/// Exchanges of kombu's remote control and events: their queues belong to single processes.
const PRIVATE_EXCHANGES: [&str; 3] = ["celery.pidbox", "reply.celery.pidbox", "celeryev"];
/// Keys of one step of a scan.
const SCAN_COUNT: usize = 500;

impl Inner {
    pub(super) async fn bind(&self, queue: &str, binding: &QueueBinding) -> Result<(), Error> {
        let key = self.keys.bindings(&binding.exchange);
        let mut add = redis::cmd("SADD");
        add.arg(key).arg(member(queue, binding));
        let _added: i64 = self.link.command(&add).await?;
        Ok(())
    }

    /// The queues that an exchange routes a key to.
    pub(super) async fn route(&self, exchange: &str, key: &str) -> Result<BTreeSet<String>, Error> {
        let mut read = redis::cmd("SMEMBERS");
        read.arg(self.keys.bindings(exchange));
        let members: Vec<String> = self.link.command(&read).await?;
        Ok(members.iter().filter_map(|member| routed(member, key)).map(str::to_owned).collect())
    }

    /// All queues that are bound to an exchange, as every declared one is, and their dead-letter
    /// queues that hold something.
    pub(super) async fn all_queues(&self) -> Result<Vec<String>, Error> {
        let prefix = self.keys.bindings("");
        let mut queues = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", escaped(&prefix)));
            scan.arg("COUNT").arg(SCAN_COUNT);
            let (next, found): (u64, Vec<String>) = self.link.command(&scan).await?;
            for key in found {
                let exchange = key.strip_prefix(&prefix).unwrap_or_default();
                if PRIVATE_EXCHANGES.contains(&exchange) {
                    continue;
                }
                let members: Vec<String> =
                    self.link.command(redis::cmd("SMEMBERS").arg(&key)).await?;
                queues.extend(
                    members.iter().filter_map(|member| parts(member)).map(|p| p.2.to_owned()),
                );
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut graves = Vec::new();
        for queue in &queues {
            let grave = dead_letter_queue(queue);
            let mut exists = redis::cmd("EXISTS");
            exists.arg(self.keys.lists(&grave));
            let there: i64 = self.link.command(&exists).await?;
            if there > 0 {
                graves.push(grave);
            }
        }
        queues.extend(graves);
        Ok(queues.into_iter().collect())
    }
}

/// `routing key, pattern, queue`, as kombu writes it: the pattern is a regular expression that says
/// the same as the key of a topic exchange, and is empty for others.
fn member(queue: &str, binding: &QueueBinding) -> String {
    let (key, pattern) = match binding.exchange_type {
        ExchangeType::Direct => (binding.routing_key.as_str(), String::new()),
        ExchangeType::Topic => (binding.routing_key.as_str(), pattern(&binding.routing_key)),
        ExchangeType::Fanout => ("#", pattern("#")),
    };
    [key, &pattern, queue].join(STEP_SEPARATOR)
}

fn pattern(key: &str) -> String {
    let word = |word: &str| match word {
        "*" => r"[^\.]+".to_owned(),
        "#" => ".*?".to_owned(),
        other => other.chars().fold(String::new(), |mut text, c| {
            if !c.is_alphanumeric() && c != '_' {
                text.push('\\');
            }
            text.push(c);
            text
        }),
    };
    format!("^{}$", key.split('.').map(word).collect::<Vec<_>>().join(r"\."))
}

fn parts(member: &str) -> Option<(&str, &str, &str)> {
    let mut parts = member.split(STEP_SEPARATOR);
    let found = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !found.2.is_empty()).then_some(found)
}

/// The queue of a binding that passes the key.
fn routed<'a>(member: &'a str, key: &str) -> Option<&'a str> {
    let (bound, pattern, queue) = parts(member)?;
    let kind = if pattern.is_empty() { ExchangeType::Direct } else { ExchangeType::Topic };
    matches(kind, bound, key).then_some(queue)
}

/// Text that a glob pattern of Redis takes literally.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_are_written_as_kombu_writes_them() {
        let bind = |exchange_type, key: &str| {
            let binding = QueueBinding {
                exchange: "x".to_owned(),
                exchange_type,
                routing_key: key.to_owned(),
            };
            member("q", &binding)
        };
        assert_eq!(bind(ExchangeType::Direct, "a.b"), "a.b\u{6}\u{16}\u{6}\u{16}q");
        let topic = bind(ExchangeType::Topic, "a.*.#");
        assert_eq!(topic, "a.*.#\u{6}\u{16}^a\\.[^\\.]+\\..*?$\u{6}\u{16}q");
        assert_eq!(routed(&topic, "a.b.c.d"), Some("q"));
        assert_eq!(routed(&bind(ExchangeType::Direct, "a.*"), "a.b"), None);
        assert_eq!(routed(&bind(ExchangeType::Fanout, "x"), "anything"), Some("q"));
        assert_eq!(routed("no member", "no member"), None);
    }
}
