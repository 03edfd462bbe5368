//! Keys and channels of kombu's Redis transport that events and remote control use.

/// Between the parts of a binding, as kombu writes it.
const SEPARATOR: &str = "\u{6}\u{16}";

#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    db: i64,
}

impl Keys {
    pub(super) fn new(prefix: &str, db: i64) -> Self {
        Self { prefix: prefix.to_owned(), db }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The channel of a fanout exchange. Channels have no database of their own, hence its number.
    pub(super) fn channel(&self, exchange: &str, routing_key: &str) -> String {
        let Self { prefix, db } = self;
        if routing_key.is_empty() {
            format!("{prefix}/{db}.{exchange}")
        } else {
            format!("{prefix}/{db}.{exchange}/{routing_key}")
        }
    }

    /// The pattern of all channels of an exchange with a routing key.
    pub(super) fn channels(&self, exchange: &str) -> String {
        let mut pattern = String::new();
        for c in self.channel(exchange, "").chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern + "/*"
    }

    /// A list.
    pub(super) fn list(&self, queue: &str) -> String {
        format!("{}{queue}", self.prefix)
    }

    /// Set with the bindings of an exchange; zset with the times at which kombu 5.7 sweeps such
    /// sets; zset (ours) with the times at which bindings of ours are leftovers.
    pub(super) fn bindings(&self, exchange: &str) -> [String; 3] {
        let prefix = &self.prefix;
        [
            format!("{prefix}_kombu.binding.{exchange}"),
            format!("{prefix}_kombu.binding_deadlines"),
            format!("{prefix}tradewind:questions"),
        ]
    }

    /// A member of such a set.
    pub(super) fn binding(routing_key: &str, queue: &str) -> String {
        format!("{routing_key}{SEPARATOR}{SEPARATOR}{queue}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kombus() {
        let keys = Keys::new("p[1]:", 3);
        assert_eq!(keys.channel("celery.pidbox", ""), "p[1]:/3.celery.pidbox");
        assert_eq!(
            keys.channel("celeryev", "worker.heartbeat"),
            "p[1]:/3.celeryev/worker.heartbeat"
        );
        assert_eq!(keys.channels("celeryev"), "p\\[1\\]:/3.celeryev/*");
        assert_eq!(Keys::binding("oid", "queue"), "oid\u{6}\u{16}\u{6}\u{16}queue");
        assert_eq!(keys.bindings("x")[0], "p[1]:_kombu.binding.x");
    }
}
