//! Which task goes where: patterns over task names, tried in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Names whose route is remembered; then all are forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// Longest pattern in bytes, and the most memory that it may compile to (`a{9999999}` is short too).
const PATTERN_BYTES_MAX: usize = 1_000;
const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Introduces a regular expression.
const REGEX: &str = "re:";

/// Where tasks of a name go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Queue; has precedence over the exchange.
    pub queue: Option<String>,
    /// Exchange.
    pub exchange: Option<String>,
    /// Routing key on the exchange; default: the task's name.
    pub routing_key: Option<String>,
    /// Priority of messages that have none of their own.
    pub priority: Option<u8>,
}

impl Route {
    /// To a queue.
    pub fn queue(name: impl Into<String>) -> Self {
        Self { queue: Some(name.into()), ..Self::default() }
    }

    /// To an exchange.
    pub fn exchange(name: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self {
            exchange: Some(name.into()),
            routing_key: Some(routing_key.into()),
            ..Self::default()
        }
    }

    /// With a priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }
}

#[derive(Clone)]
enum Pattern {
    Exact(String),
    Regex(Arc<PikeVM>),
}

impl Pattern {
    fn matches(&self, task: &str) -> bool {
        match self {
            Self::Exact(name) => name == task,
            Self::Regex(regex) => regex.is_match(&mut regex.create_cache(), task),
        }
    }
}

/// Routes in order, and the default queue. Clones share what they remember.
#[derive(Clone)]
pub struct Routes {
    default_queue: String,
    routes: Vec<(String, Pattern, Route)>,
    /// Place of the route by task name.
    remembered: Arc<Mutex<BTreeMap<String, Option<usize>>>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.iter().map(|(pattern, _, route)| (pattern, route));
        f.debug_map().entries(routes).entry(&"default", &self.default_queue).finish()
    }
}

impl Routes {
    /// None: everything goes to one queue.
    pub fn new(default_queue: impl Into<String>) -> Self {
        Self { default_queue: default_queue.into(), routes: Vec::new(), remembered: Arc::default() }
    }

    /// Adds a route after those that are there: an exact name; a glob when it has `*` (anything), `?`
    /// (one character) or `[…]`; a regular expression over the whole name after `re:`.
    ///
    /// # Errors
    /// [`Error::Config`] when the pattern cannot be read or the route names neither queue, exchange
    /// nor priority.
    pub fn add(mut self, pattern: &str, route: Route) -> Result<Self, Error> {
        if route.queue.is_none() && route.exchange.is_none() && route.priority.is_none() {
            return Err(Error::Config(format!(
                "route {pattern:?} leads nowhere; give it a queue, an exchange or a priority"
            )));
        }
        self.routes.push((pattern.to_owned(), compile(pattern)?, route));
        self.remembered = Arc::default();
        Ok(self)
    }

    /// The queue of a task that no route names.
    pub fn default_queue(&self) -> &str {
        &self.default_queue
    }

    /// The first route whose pattern matches.
    pub fn find(&self, task: &str) -> Option<&Route> {
        if self.routes.is_empty() {
            return None;
        }
        let lock = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(task).copied();
        let place = known.unwrap_or_else(|| {
            let place = self.routes.iter().position(|(_, pattern, _)| pattern.matches(task));
            let mut remembered = lock();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(task.to_owned(), place);
            place
        });
        place.and_then(|place| self.routes.get(place)).map(|(_, _, route)| route)
    }
}

fn compile(pattern: &str) -> Result<Pattern, Error> {
    let bad = |why: String| Error::Config(format!("route pattern {pattern:?}: {why}"));
    if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
        return Err(bad(format!("use 1 to {PATTERN_BYTES_MAX} bytes")));
    }
    let regex = if let Some(regex) = pattern.strip_prefix(REGEX) {
        format!("^(?:{regex})$")
    } else if pattern.contains(['*', '?', '[']) {
        glob(pattern)
    } else {
        return Ok(Pattern::Exact(pattern.to_owned()));
    };
    let limited = thompson::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX));
    let compiled = PikeVM::builder().thompson(limited).build(&regex).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        bad(cause.unwrap_or_else(|| error.to_string()))
    })?;
    Ok(Pattern::Regex(Arc::new(compiled)))
}

/// A glob as a regular expression over the whole text.
fn glob(pattern: &str) -> String {
    let mut regex = String::from("^(?s:");
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let (inside, after) = rest.as_str().split_once(']').unwrap_or((rest.as_str(), ""));
                let (not, inside) =
                    inside.strip_prefix('!').map_or(("", inside), |inside| ("^", inside));
                let escaped = inside.replace('\\', "\\\\").replace('[', "\\[").replace('^', "\\^");
                regex.push_str(&format!("[{not}{escaped}]"));
                rest = after.chars();
            }
            c if c.is_alphanumeric() || c == '_' => regex.push(c),
            c => {
                regex.push('\\');
                regex.push(c);
            }
        }
    }
    regex + ")$"
}

#[cfg(test)]
mod tests {
    use super::{Route, Routes};

    fn routes() -> Routes {
        let add = |routes: Routes, pattern: &str, queue: &str| {
            routes.add(pattern, Route::queue(queue)).expect("a route")
        };
        let routes = add(Routes::new("default"), "mail.send", "mail");
        let routes = add(routes, "mail.*", "bulk");
        let routes = add(routes, "re:video\\.(encode|decode)(_v[0-9]+)?", "video");
        add(routes, "a?c.[!x]", "odd")
    }

    #[test]
    fn the_first_pattern_that_matches_wins() {
        let routes = routes();
        for _ in 0..2 {
            for (task, queue) in [
                ("mail.send", Some("mail")),
                ("mail.send.now", Some("bulk")),
                ("mailXsend", None),
                ("video.encode_v2", Some("video")),
                ("video.encode_v2x", None),
                ("my.video.encode", None),
                ("abc.y", Some("odd")),
                ("abc.x", None),
            ] {
                let found = routes.find(task).and_then(|route| route.queue.as_deref());
                assert_eq!(found, queue, "{task}");
            }
        }
    }

    #[test]
    fn bad_patterns_and_routes_are_refused_and_named() {
        for pattern in ["re:(", "re:a{9999999}", "", "x[", &"y".repeat(2_000)] {
            let refused = Routes::new("d").add(pattern, Route::queue("q"));
            let text = refused.expect_err("a refusal").to_string();
            assert!(text.contains("route pattern"), "{text}");
        }
        let text = Routes::new("d").add("x", Route::default()).expect_err("a refusal").to_string();
        assert!(text.contains("leads nowhere"), "{text}");
    }
}
