//! What can be said about one external task in configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ExternalError;
use super::template::Template;
use crate::fleet::{Limit, Rate, RetryPolicy, TaskOptions};

/// First wait before a retry, unless the options say otherwise.
const RETRY_DELAY_DEFAULT: Duration = Duration::from_secs(1);
/// Retries of an HTTP task whose server is away, unless the options say otherwise.
const HTTP_RETRIES_DEFAULT: u32 = 3;
/// Longest time limit, in seconds.
const LIMIT_SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// The kinds of failure that an HTTP task retries: another try may find the server back.
pub(super) const HTTP_RETRYABLE: [&str; 3] =
    ["ConnectionError", "TooManyRequests", "ServiceUnavailable"];

/// One entry of `[tasks]`. Exactly one of `command`, `http` and `python` is given.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalOptions {
    /// Program and arguments, without a shell; `{0}` and `{name}` are the call's arguments.
    pub command: Option<Vec<String>>,
    /// URL that the call is posted to.
    pub http: Option<String>,
    /// `module:function`, run in a warm Python process.
    pub python: Option<String>,
    /// Queue that clients of the same configuration send it to.
    pub queue: Option<String>,
    /// Seconds after which it is killed.
    pub time_limit: Option<f64>,
    /// Seconds after which it is asked to end (command: SIGTERM; Python: `SoftTimeLimitExceeded`).
    pub soft_time_limit: Option<f64>,
    /// Most retries. Command and Python: of any failure, default 0. HTTP: while the server is away or busy
    /// (no connection, 429, 503), default 3.
    pub retries: Option<u32>,
    /// Seconds before the first retry; waits double, with jitter. Default 1.
    pub retry_delay: Option<f64>,
    /// Starts per second in one worker: `10/m`.
    pub rate_limit: Option<Rate>,
    /// Ack after the run. Default true.
    pub acks_late: Option<bool>,
    /// Store no result.
    pub ignore_result: bool,
    /// Most runs at once, in the fleet.
    pub concurrency: Option<u32>,
    /// Working folder of a command or Python process. Default: the worker's.
    pub cwd: Option<PathBuf>,
    /// Variables on top of the worker's environment.
    pub env: BTreeMap<String, String>,
    /// Headers of an HTTP call.
    pub headers: BTreeMap<String, String>,
    /// Calls after which a Python process is replaced. Default: never.
    pub max_tasks_per_child: Option<u32>,
    /// Peak memory, in KiB, after which a Python process is replaced. Default: never.
    pub max_memory_per_child_kb: Option<u64>,
}

/// Values may be secrets: only their names are shown.
impl fmt::Debug for ExternalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalOptions")
            .field("command", &self.command)
            .field("http", &self.http.as_ref().map(|_| "…"))
            .field("python", &self.python)
            .field("env", &self.env.keys())
            .field("headers", &self.headers.keys())
            .finish_non_exhaustive()
    }
}

/// How a task is run, checked.
#[derive(Clone, PartialEq)]
pub enum Means {
    /// A command.
    Command(Vec<String>),
    /// An HTTP call.
    Http(reqwest::Url),
    /// A Python callable: module and name in it.
    Python(String, String),
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(argv) => f.debug_tuple("Command").field(argv).finish(),
            // A URL may hold a password.
            Self::Http(url) => f.debug_tuple("Http").field(&url.host_str()).finish(),
            Self::Python(module, name) => {
                f.debug_tuple("Python").field(module).field(name).finish()
            }
        }
    }
}

impl ExternalOptions {
    /// Checks an entry and says how it is run.
    ///
    /// # Errors
    /// [`ExternalError::Task`] with the task, the option and what to write instead.
    pub fn means(&self, task: &str) -> Result<Means, ExternalError> {
        let wrong = |reason: String| ExternalError::Task { task: task.to_owned(), reason };
        self.check_numbers().map_err(wrong)?;
        let means = match (&self.command, &self.http, &self.python) {
            (Some(argv), None, None) => command(argv),
            (None, Some(url), None) => http(url),
            (None, None, Some(target)) => python(target),
            (None, None, None) => {
                Err("has no command, http or python: give one of them".to_owned())
            }
            _ => Err("has more than one of command, http and python: give one".to_owned()),
        };
        let means = means.map_err(wrong)?;
        self.check_fit(&means).map_err(wrong)?;
        Ok(means)
    }

    fn check_numbers(&self) -> Result<(), String> {
        for (option, value) in [
            ("time_limit", self.time_limit),
            ("soft_time_limit", self.soft_time_limit),
            ("retry_delay", self.retry_delay),
        ] {
            match value {
                Some(value) if !(value > 0.0 && value <= LIMIT_SECONDS_MAX) => {
                    return Err(format!("{option} = {value}: use seconds above 0, at most a year"));
                }
                _ => {}
            }
        }
        if let (Some(soft), Some(hard)) = (self.soft_time_limit, self.time_limit)
            && soft >= hard
        {
            return Err(format!("soft_time_limit = {soft} is not below time_limit = {hard}"));
        }
        for (option, value) in [
            ("concurrency", self.concurrency.map(u64::from)),
            ("max_tasks_per_child", self.max_tasks_per_child.map(u64::from)),
            ("max_memory_per_child_kb", self.max_memory_per_child_kb),
        ] {
            if value == Some(0) {
                return Err(format!("{option} = 0: use at least 1, or leave it out"));
            }
        }
        Ok(())
    }

    /// Options that mean nothing for this kind of task would mislead.
    fn check_fit(&self, means: &Means) -> Result<(), String> {
        let (kind, python, http) = match means {
            Means::Command(_) => ("a command", false, false),
            Means::Http(_) => ("an http task", false, true),
            Means::Python(..) => ("a python task", true, false),
        };
        for (option, given, fits) in [
            ("cwd", self.cwd.is_some(), !http),
            ("env", !self.env.is_empty(), !http),
            ("headers", !self.headers.is_empty(), http),
            ("max_tasks_per_child", self.max_tasks_per_child.is_some(), python),
            ("max_memory_per_child_kb", self.max_memory_per_child_kb.is_some(), python),
        ] {
            if given && !fits {
                return Err(format!("{option} has no meaning for {kind}: leave it out"));
            }
        }
        Ok(())
    }

    /// The same, as the run core reads it.
    pub(super) fn apply(&self, options: &mut TaskOptions) {
        options.queue.clone_from(&self.queue);
        options.time_limit = self.time_limit.map(Duration::from_secs_f64);
        options.soft_time_limit = self.soft_time_limit.map(Duration::from_secs_f64);
        options.rate_limit = self.rate_limit;
        options.acks_late = self.acks_late.unwrap_or(true);
        options.ignore_result = self.ignore_result;
        options.concurrency =
            self.concurrency.map(|most| Limit { most, per: None }).into_iter().collect();
        let max = self.retries.unwrap_or(match self.http {
            Some(_) => HTTP_RETRIES_DEFAULT,
            None => 0,
        });
        let delay = self.retry_delay.map_or(RETRY_DELAY_DEFAULT, Duration::from_secs_f64);
        options.retry = RetryPolicy::jittered(max, delay);
        if self.http.is_some() {
            options.retry.on = HTTP_RETRYABLE.map(str::to_owned).to_vec();
        } else if max == 0 {
            options.retry.on.clear();
        }
    }
}

fn command(argv: &[String]) -> Result<Means, String> {
    match argv.first() {
        None => {
            return Err(
                "command is empty: give a program, as in [\"make-report\", \"{0}\"]".to_owned()
            );
        }
        Some(program) if program.is_empty() || program.contains('{') => {
            return Err(format!(
                "command starts with {program:?}: the program must be a fixed name"
            ));
        }
        Some(_) => {}
    }
    for argument in argv {
        Template::parse(argument).map_err(|reason| format!("command: {reason}"))?;
    }
    Ok(Means::Command(argv.to_vec()))
}

fn http(text: &str) -> Result<Means, String> {
    // The text is not shown: it may hold a password.
    let wrong = || "http must be a URL such as https://host/path".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    Ok(Means::Http(url))
}

fn python(target: &str) -> Result<Means, String> {
    let is_path = |path: &str| {
        let part = |part: &str| {
            part.chars().all(|c| c.is_alphanumeric() || c == '_')
                && part.chars().next().is_some_and(|c| !c.is_numeric())
        };
        path.split('.').all(part)
    };
    match target.split_once(':') {
        Some((module, name)) if is_path(module) && is_path(name) => {
            Ok(Means::Python(module.to_owned(), name.to_owned()))
        }
        _ => Err(format!("python = {target:?}: write it as package.module:function")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ExternalOptions, Means};
    use crate::fleet::TaskOptions;

    fn read(json: &str) -> ExternalOptions {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn each_kind_is_read() {
        let means = |json| read(json).means("t").expect(json);
        assert!(matches!(means(r#"{"command": ["echo", "{0}"]}"#), Means::Command(_)));
        assert!(matches!(means(r#"{"http": "https://h/x"}"#), Means::Http(_)));
        let python = means(r#"{"python": "a.b:C.run", "max_tasks_per_child": 3}"#);
        assert_eq!(python, Means::Python("a.b".to_owned(), "C.run".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_task() {
        for (json, text) in [
            (r#"{}"#, "no command, http or python"),
            (r#"{"command": ["x"], "python": "a:b"}"#, "more than one"),
            (r#"{"command": []}"#, "command is empty"),
            (r#"{"command": ["{0}"]}"#, "fixed name"),
            (r#"{"command": ["x", "{"]}"#, "{ without its }"),
            (r#"{"http": "ftp://u:geheim@h"}"#, "https://host/path"),
            (r#"{"python": "a.b"}"#, "package.module:function"),
            (r#"{"python": "a:1b"}"#, "package.module:function"),
            (r#"{"python": "a:b", "time_limit": 0}"#, "time_limit = 0"),
            (r#"{"python": "a:b", "time_limit": 5, "soft_time_limit": 5}"#, "not below"),
            (r#"{"python": "a:b", "concurrency": 0}"#, "concurrency = 0"),
            (r#"{"python": "a:b", "headers": {"A": "b"}}"#, "headers has no meaning"),
            (r#"{"http": "http://h", "cwd": "/"}"#, "cwd has no meaning"),
            (
                r#"{"command": ["x"], "max_tasks_per_child": 1}"#,
                "max_tasks_per_child has no meaning",
            ),
        ] {
            let error = read(json).means("mail.send").expect_err(json).to_string();
            assert!(error.contains("[tasks.\"mail.send\"]") && error.contains(text), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        assert!(serde_json::from_str::<ExternalOptions>(r#"{"comand": ["x"]}"#).is_err());
    }

    #[test]
    fn options_reach_the_run_core() {
        let mut options = TaskOptions::default();
        read(r#"{"command": ["x"], "time_limit": 1.5, "rate_limit": "2/s", "concurrency": 2}"#)
            .apply(&mut options);
        assert_eq!(options.time_limit, Some(Duration::from_millis(1500)));
        assert_eq!((options.retry.max, options.retry.covers("ValueError")), (0, false));
        assert_eq!(options.concurrency[0].most, 2);
        read(r#"{"http": "http://h"}"#).apply(&mut options);
        assert_eq!(options.retry.max, 3);
        assert!(options.retry.covers("ServiceUnavailable") && !options.retry.covers("HTTPError"));
        read(r#"{"python": "a:b", "retries": 1}"#).apply(&mut options);
        assert!(options.retry.covers("ValueError"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let options =
            read(r#"{"http": "http://u:geheim@h", "headers": {"Authorization": "geheim"}}"#);
        let shown = format!("{options:?} {:?}", options.means("t").expect("valid"));
        assert!(shown.contains("Authorization") && !shown.contains("geheim"), "{shown}");
    }
}
