//! Celery's options, by command: which are ours under another name, which mean nothing here.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum To {
    /// Passed on under this name.
    Pass(&'static str),
    /// Means nothing here and does no harm.
    Ignore,
    /// Cannot be left out silently: the reason and what to do.
    Refuse(&'static str),
    /// A setting: section, key.
    Set(&'static str, &'static str),
    /// The folder to work in.
    Workdir,
}

/// One option.
#[derive(Debug)]
pub(super) struct Opt {
    pub(super) names: &'static [&'static str],
    /// Whether a value follows.
    pub(super) value: bool,
    pub(super) to: To,
}

const fn valued(names: &'static [&'static str], to: To) -> Opt {
    Opt { names, value: true, to }
}

const fn flag(names: &'static [&'static str], to: To) -> Opt {
    Opt { names, value: false, to }
}

/// Before the command, and accepted after it too.
pub(super) const GLOBAL: &[Opt] = &[
    valued(&["-A", "--app"], To::Ignore),
    valued(&["-b", "--broker"], To::Set("broker", "url")),
    valued(&["--result-backend"], To::Set("results", "url")),
    valued(&["--loader"], To::Ignore),
    valued(&["--config"], To::Ignore),
    valued(&["--workdir"], To::Workdir),
    flag(&["-C", "--no-color"], To::Ignore),
    flag(&["-q", "--quiet"], To::Ignore),
    flag(&["--skip-checks"], To::Ignore),
];

const NO_DETACH: To = To::Refuse(
    "does not exist here; let systemd, a container or `nohup … &` keep the process in the background",
);

/// Of every process that can run in the background.
const DAEMON: &[Opt] = &[
    flag(&["-D", "--detach"], NO_DETACH),
    valued(&["-f", "--logfile"], To::Ignore),
    valued(&["--pidfile"], To::Ignore),
    valued(&["--uid"], To::Ignore),
    valued(&["--gid"], To::Ignore),
    valued(&["--umask"], To::Ignore),
    valued(&["--executable"], To::Ignore),
    valued(&["-l", "--loglevel"], To::Pass("--loglevel")),
];

const WORKER: &[Opt] = &[
    valued(&["-Q", "--queues"], To::Pass("-Q")),
    valued(&["-X", "--exclude-queues"], To::Pass("-X")),
    valued(&["-c", "--concurrency"], To::Pass("-c")),
    valued(&["-n", "--hostname"], To::Pass("-n")),
    valued(&["--autoscale"], To::Pass("--autoscale")),
    valued(&["--max-tasks-per-child"], To::Pass("--max-tasks-per-child")),
    valued(&["--max-memory-per-child"], To::Pass("--max-memory-per-child")),
    valued(&["--time-limit"], To::Pass("--time-limit")),
    valued(&["--soft-time-limit"], To::Pass("--soft-time-limit")),
    flag(&["-E", "--task-events", "--events"], To::Pass("-E")),
    flag(&["--purge", "--discard"], To::Pass("--purge")),
    flag(&["-B", "--beat"], To::Pass("--beat")),
    valued(&["-P", "--pool"], To::Ignore),
    valued(&["--pool-start-method"], To::Ignore),
    valued(&["-O", "--optimization"], To::Ignore),
    valued(&["--prefetch-multiplier"], To::Ignore),
    valued(&["-S", "--statedb"], To::Ignore),
    valued(&["-I", "--include"], To::Ignore),
    valued(&["-s", "--schedule", "--schedule-filename"], To::Ignore),
    valued(&["--scheduler"], To::Ignore),
    valued(&["--heartbeat-interval"], To::Ignore),
    flag(&["--without-gossip"], To::Ignore),
    flag(&["--without-mingle"], To::Ignore),
    flag(&["--without-heartbeat"], To::Ignore),
    flag(&["--disable-prefetch"], To::Ignore),
];

const BEAT: &[Opt] = &[
    valued(&["-s", "--schedule"], To::Ignore),
    valued(&["-S", "--scheduler"], To::Ignore),
    valued(&["--max-interval"], To::Ignore),
    valued(&["-n", "--hostname"], To::Ignore),
    flag(&["--enable-remote-control"], To::Ignore),
    flag(&["--no-enable-remote-control"], To::Ignore),
];

const FLOWER: &[Opt] = &[
    valued(&["--port"], To::Pass("--port")),
    valued(&["--address"], To::Pass("--host")),
    valued(
        &["--basic_auth", "--basic-auth"],
        To::Refuse(
            "puts a password where every user of the machine can read it; set FLOWER_BASIC_AUTH or \
             [flower] basic_auth",
        ),
    ),
];

const REMOTE: &[Opt] = &[
    valued(&["-t", "--timeout"], To::Pass("--timeout")),
    valued(&["-d", "--destination"], To::Pass("--destination")),
    flag(&["-j", "--json"], To::Pass("--json")),
    flag(&["--list"], To::Pass("--list")),
];

const EVENTS: &[Opt] = &[
    valued(&["-l", "--loglevel"], To::Ignore),
    flag(&["-d", "--dump"], To::Pass("--dump")),
    valued(&["-c", "--camera"], To::Refuse("needs Python; `celery events --dump` prints events")),
    valued(&["-F", "--frequency", "--freq"], To::Ignore),
    valued(&["-r", "--maxrate"], To::Ignore),
];

const PURGE: &[Opt] = &[
    flag(&["-f", "--force"], To::Pass("--force")),
    valued(&["-Q", "--queues"], To::Pass("-Q")),
    valued(&["-X", "--exclude-queues"], To::Pass("-X")),
];

const CALL: &[Opt] = &[
    valued(&["-a", "--args"], To::Pass("--args")),
    valued(&["-k", "--kwargs"], To::Pass("--kwargs")),
    valued(&["--eta"], To::Pass("--eta")),
    valued(&["--countdown"], To::Pass("--countdown")),
    valued(&["--expires"], To::Pass("--expires")),
    valued(&["--queue"], To::Pass("--queue")),
    valued(&["--exchange"], To::Pass("--exchange")),
    valued(&["--routing-key"], To::Pass("--routing-key")),
    valued(&["--serializer"], To::Ignore),
];

const RESULT: &[Opt] =
    &[flag(&["--traceback"], To::Pass("--traceback")), valued(&["-t", "--task"], To::Ignore)];

/// A command: our words for it, its options, and whether unknown ones are to be ignored.
#[derive(Debug)]
pub(super) struct Spelling {
    pub(super) ours: &'static [&'static str],
    pub(super) options: &'static [&'static [Opt]],
    /// Flower has many options, all of the form `--name=value`.
    pub(super) lenient: bool,
}

/// How a command of Celery is called here.
pub(super) fn spelling(command: &str) -> Option<Spelling> {
    let (ours, options): (&[&str], &[&[Opt]]) = match command {
        "worker" => (&["worker"], &[WORKER, DAEMON]),
        "beat" => (&["beat"], &[BEAT, DAEMON]),
        "flower" => (&["flower"], &[FLOWER]),
        "inspect" => (&["inspect"], &[REMOTE]),
        "control" => (&["control"], &[REMOTE]),
        "status" => (&["status"], &[REMOTE]),
        "events" => (&["events"], &[EVENTS, DAEMON]),
        "purge" => (&["purge"], &[PURGE]),
        "call" => (&["task", "send"], &[CALL]),
        // Celery's waits without end; a day is a bound that nobody meets.
        "result" => (&["task", "result", "--wait", "--timeout", "86400"], &[RESULT]),
        _ => return None,
    };
    Some(Spelling { ours, options, lenient: command == "flower" })
}
