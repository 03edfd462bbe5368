//! When a failed task runs again. Pure.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewind_proto::celery::Request;

use super::error::Retry;

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always the same wait.
    Fixed,
    /// Doubled with each retry.
    Exponential,
    /// Anything from nothing to the exponential wait, so that many failures do not come back together.
    FullJitter,
}

/// When and how often a task is retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Most retries. Default 3, as Celery's `max_retries`.
    pub max: u32,
    /// First wait. Default 180 s, as Celery's `default_retry_delay`.
    pub delay: Duration,
    /// Longest wait. Default 600 s, as Celery's `retry_backoff_max`.
    pub delay_max: Duration,
    /// How waits grow. Default fixed.
    pub backoff: Backoff,
    /// Failures of these kinds (`exc_type`) are retried without being asked; `*` is all.
    pub on: Vec<String>,
    /// Failures of these kinds never are.
    pub never_on: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max: 3,
            delay: Duration::from_secs(180),
            delay_max: Duration::from_secs(600),
            backoff: Backoff::Fixed,
            on: Vec::new(),
            never_on: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// Retries every failure, at most `max` times, with full jitter from `delay` on.
    pub fn jittered(max: u32, delay: Duration) -> Self {
        Self {
            max,
            delay,
            backoff: Backoff::FullJitter,
            on: vec!["*".to_owned()],
            ..Self::default()
        }
    }

    /// Retries every failure, at most `max` times, with the same wait.
    pub fn fixed(max: u32, delay: Duration) -> Self {
        Self { backoff: Backoff::Fixed, ..Self::jittered(max, delay) }
    }

    /// Whether a failure of this kind is retried without being asked.
    pub fn covers(&self, exc_type: &str) -> bool {
        let named = |kinds: &[String]| kinds.iter().any(|kind| kind == exc_type || kind == "*");
        named(&self.on) && !named(&self.never_on)
    }

    /// The wait before the next run of a task that was retried `retries` times. The jitter follows from
    /// the task's id, so that a repeated decision is the same one.
    pub fn wait(&self, id: &str, retries: u32) -> Duration {
        let grown = match self.backoff {
            Backoff::Fixed => return self.delay.min(self.delay_max),
            Backoff::Exponential | Backoff::FullJitter => {
                self.delay.saturating_mul(2_u32.saturating_pow(retries)).min(self.delay_max)
            }
        };
        if self.backoff == Backoff::Exponential { grown } else { share(grown, (id, retries)) }
    }
}

/// An even share of `whole`, picked by a hash of `by`.
pub(crate) fn share(whole: Duration, by: impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    by.hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 1001).unwrap_or(0);
    whole.saturating_mul(thousandths) / 1000
}

impl Retry {
    /// Settles which of the present arguments stay beside new ones, as Celery's `Task.retry` does, for a
    /// handler with such parameters.
    pub(crate) fn in_place_of(mut self, request: &Request, parameters: &[&str]) -> Self {
        match (&mut self.args, &mut self.kwargs) {
            (Some(args), None) => {
                let mut kwargs = request.kwargs.clone();
                for name in parameters.iter().take(args.len()) {
                    kwargs.remove(*name);
                }
                self.kwargs = Some(kwargs);
            }
            (None, Some(kwargs)) => {
                let mut args = request.args.clone();
                for (arg, name) in args.iter_mut().zip(parameters) {
                    if let Some(value) = kwargs.remove(*name) {
                        *arg = value;
                    }
                }
                self.args = Some(args);
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tradewind_proto::celery::Request;

    use super::{Backoff, Retry, RetryPolicy};

    fn policy(backoff: Backoff) -> RetryPolicy {
        let delay_max = Duration::from_secs(10);
        RetryPolicy { delay: Duration::from_secs(1), delay_max, backoff, ..RetryPolicy::default() }
    }

    #[test]
    fn new_arguments_take_the_place_of_those_of_the_same_name() {
        let object = |value: serde_json::Value| value.as_object().cloned().expect("an object");
        let mut request = Request::new("t", "id");
        let named = ["foo", "bar", "label"];
        request.kwargs = object(json!({"foo": 1, "bar": 2, "label": "kept"}));
        let args = || Retry { args: Some(vec![json!(2), json!(3)]), ..Retry::default() };
        let settled = args().in_place_of(&request, &named);
        assert_eq!(settled.kwargs, Some(object(json!({"label": "kept"}))));
        let settled = args().in_place_of(&request, &[]);
        assert_eq!(settled.kwargs, Some(request.kwargs.clone()), "nothing is known of names");

        (request.args, request.kwargs) = (vec![json!(1), json!(2)], object(json!({"label": 0})));
        let kwargs = Some(object(json!({"foo": 2, "label": 1})));
        let settled = Retry { kwargs, ..Retry::default() }.in_place_of(&request, &named);
        assert_eq!(settled.args, Some(vec![json!(2), json!(2)]));
        assert_eq!(settled.kwargs, Some(object(json!({"label": 1}))));
        assert_eq!(Retry::default().in_place_of(&request, &named), Retry::default());
    }

    #[test]
    fn waits_grow_up_to_their_bound() {
        let waits =
            |backoff| (0..6).map(|n| policy(backoff).wait("a", n).as_secs()).collect::<Vec<_>>();
        assert_eq!(waits(Backoff::Fixed), [1, 1, 1, 1, 1, 1]);
        assert_eq!(waits(Backoff::Exponential), [1, 2, 4, 8, 10, 10]);
        assert_eq!(policy(Backoff::Exponential).wait("a", 4_000_000_000).as_secs(), 10);
    }

    #[test]
    fn full_jitter_spreads_below_the_exponential_wait() {
        let policy = policy(Backoff::FullJitter);
        let waits: Vec<_> = (0..200).map(|n| policy.wait(&format!("task-{n}"), 3)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(8)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(1)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(7)));
        assert_eq!(policy.wait("a", 1), policy.wait("a", 1));
    }

    #[test]
    fn kinds_are_picked_by_name() {
        let mut policy = RetryPolicy::fixed(1, Duration::ZERO);
        policy.never_on = vec!["ValueError".to_owned()];
        assert!(policy.covers("KeyError") && !policy.covers("ValueError"));
        policy.on = vec!["OSError".to_owned()];
        assert!(policy.covers("OSError") && !policy.covers("KeyError"));
        assert!(!RetryPolicy::default().covers("KeyError"));
    }
}
