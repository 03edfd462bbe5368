//! Every configuration key: its kind, default, meaning, and the environment variables of Airflow, Celery
//! and Flower that mean the same.

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A path; `~` and a relative path are resolved against `TRADEWIND_HOME`.
    Path,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// A whole number within bounds.
    Int(i64, i64),
    /// Seconds, fractions allowed, at least the bound.
    Seconds(f64),
    /// `true` or `false` (also `1/0`, `yes/no`, `on/off`, `t/f`).
    Bool,
    /// Names separated by commas; in TOML also an array of strings.
    List,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Two numbers, `MAX,MIN` (one alone: `MAX`, from 1 on); a minimum above the maximum is swapped.
    Range,
    /// Text that is never printed.
    Secret,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Default; empty = unset. `{home}` stands for `TRADEWIND_HOME`.
    pub(crate) default: &'static str,
    pub(crate) doc: &'static str,
    /// Environment variables of Airflow, Celery and Flower that mean the same.
    pub(crate) aliases: &'static [&'static str],
}

const DATABASES: &[&str] = &[
    "sqlite",
    "postgres",
    "postgresql",
    "postgresql+psycopg2",
    "postgresql+psycopg",
    "postgresql+asyncpg",
];
const BROKERS: &[&str] = &["memory", "redis", "rediss", "amqp", "amqps", "pyamqp"];
const STATES: &[&str] = &["memory", "redis", "rediss", "postgres", "postgresql"];
const RESULTS: &[&str] =
    &["memory", "redis", "rediss", "postgres", "postgresql", "db+postgresql", "rpc"];

macro_rules! key {
    ($section:literal $name:literal $kind:expr, $default:literal, $doc:literal $(, $alias:literal)*) => {
        Key { section: $section, name: $name, kind: $kind, default: $default, doc: $doc, aliases: &[$($alias),*] }
    };
}

/// All keys, in the order of `config list`.
pub(crate) const KEYS: &[Key] = &[
    key!("core" "dags_folder" Kind::Path, "{home}/dags", "Folder of DAG files", "AIRFLOW__CORE__DAGS_FOLDER"),
    key!("core" "load_examples" Kind::Bool, "true", "Load the bundled example DAGs", "AIRFLOW__CORE__LOAD_EXAMPLES"),
    key!("core" "parallelism" Kind::Int(0, 1_000_000), "0", "Task instances queued or running at once; 0 = no limit", "AIRFLOW__CORE__PARALLELISM"),
    key!("core" "default_pool_slots" Kind::Int(-1, 1_000_000), "128", "Slots of default_pool; -1 = no limit", "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT"),
    key!("core" "dags_are_paused_at_creation" Kind::Bool, "true", "New DAGs start paused unless they say otherwise", "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"),
    key!("core" "python" Kind::Text, "python3", "Python interpreter for DAG files and Python tasks"),
    key!("core" "hostname" Kind::Text, "", "Host name in listings and health; unset = the machine's"),
    key!("database" "url" Kind::Url(DATABASES), "sqlite:///{home}/tradewind.db", "Metadata database", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN"),
    key!("database" "ca_file" Kind::Path, "", "PEM file of authorities to trust for TLS to the metadata database; unset = that of results"),
    key!("broker" "url" Kind::Url(BROKERS), "memory://", "Task queues", "AIRFLOW__CELERY__BROKER_URL", "CELERY_BROKER_URL"),
    key!("broker" "default_queue" Kind::Text, "default", "Queue of a fleet task that names none and that no route matches"),
    key!("broker" "queue_type" Kind::OneOf(&["classic", "quorum"]), "classic", "Kind of queue declared on RabbitMQ"),
    key!("broker" "max_priority" Kind::Int(0, 255), "0", "RabbitMQ: x-max-priority of classic queues; 0 = priorities are ignored, as in Celery"),
    key!("broker" "queue_order" Kind::OneOf(&["round_robin", "strict", "weighted"]), "round_robin", "In which order a worker serves its queues; strict = the first listed first"),
    key!("broker" "queue_weights" Kind::List, "", "With queue_order = weighted: shares, as in fast=5,slow=1; 1 for the others"),
    key!("broker" "hold" Kind::Seconds(0.0), "600", "RabbitMQ: seconds after which a long task's message is kept aside from the server's consumer timeout; 0 = never"),
    key!("broker" "hold_lease" Kind::Seconds(0.5), "60", "RabbitMQ: seconds without renewal after which a message kept aside goes back"),
    key!("broker" "native_delayed_delivery" Kind::Bool, "false", "RabbitMQ: take part in Celery's delay queues, which its clients use with quorum queues"),
    key!("broker" "ca_file" Kind::Path, "", "PEM file of authorities to trust for TLS, instead of the system's"),
    key!("broker" "heartbeat" Kind::Int(0, 3600), "3", "RabbitMQ: seconds between heartbeats; a silent link is given up after two; 0 = none"),
    key!("broker" "key_prefix" Kind::Text, "", "Redis: put before every key and channel (Celery's global_keyprefix)"),
    key!("broker" "priority_steps" Kind::List, "0,3,6,9", "Redis: priority steps, ascending, the first one 0 (Celery's priority_steps)"),
    key!("broker" "lease" Kind::Seconds(0.1), "10", "Redis: seconds that a message stays with a worker that does not renew"),
    key!("broker" "poll_max" Kind::Seconds(0.001), "0.02", "Redis: longest pause in seconds between two looks at an empty queue"),
    key!("broker" "connect_timeout" Kind::Seconds(0.1), "4", "Seconds for one attempt to connect"),
    key!("broker" "response_timeout" Kind::Seconds(0.1), "5", "Seconds that the server may take to answer or confirm"),
    key!("results" "url" Kind::Url(RESULTS), "", "Result backend; unset = what fits the broker (memory, the same Redis, rpc)", "AIRFLOW__CELERY__RESULT_BACKEND", "CELERY_RESULT_BACKEND"),
    key!("results" "ttl" Kind::Seconds(1.0), "86400", "Seconds that results of fleet tasks are kept (Celery's result_expires)"),
    key!("results" "key_prefix" Kind::Text, "", "Redis: put before every key and channel of results; unset = the broker's, if that is Redis"),
    key!("results" "pool_size" Kind::Int(1, 1000), "4", "PostgreSQL: connections for results"),
    key!("results" "ca_file" Kind::Path, "", "PEM file of authorities to trust for TLS to the result backend; unset = the broker's"),
    key!("state" "url" Kind::Url(STATES), "", "Fleet-wide facts (revoked ids, limits, uniqueness, beat); unset = results or broker if Redis or PostgreSQL, else memory"),
    key!("state" "key_prefix" Kind::Text, "", "Put before every key and channel of fleet-wide facts"),
    key!("state" "ca_file" Kind::Path, "", "PEM file of authorities to trust for TLS to fleet-wide facts; unset = that of results"),
    key!("security" "signing_keys" Kind::Path, "", "File of keys (NAME SECRET per line) that task messages are signed with: the first signs, all are accepted"),
    key!("security" "encryption_keys" Kind::Path, "", "File of keys that bodies and results of task messages are encrypted with: the first encrypts, all decrypt"),
    key!("security" "require_signature" Kind::Bool, "false", "Dead-letter task messages that are not signed"),
    key!("security" "require_encryption" Kind::Bool, "false", "Dead-letter task messages that are not encrypted"),
    key!("web" "host" Kind::Text, "127.0.0.1", "Address to listen on", "AIRFLOW__WEBSERVER__WEB_SERVER_HOST", "AIRFLOW__API__HOST"),
    key!("web" "port" Kind::Int(0, 65535), "8080", "Port to listen on; 0 = any free one", "AIRFLOW__WEBSERVER__WEB_SERVER_PORT", "AIRFLOW__API__PORT"),
    key!("web" "base_url" Kind::Text, "", "URL under which people reach the pages, when a proxy stands in front", "AIRFLOW__WEBSERVER__BASE_URL", "AIRFLOW__API__BASE_URL"),
    key!("web" "flower" Kind::Bool, "true", "Watch the fleet: Flower's API under /flower, its metrics under /metrics"),
    key!("execution" "api_url" Kind::Url(&["http", "https"]), "http://127.0.0.1:8080", "Where workers reach `tradewind web`"),
    key!("execution" "token" Kind::Secret, "", "Shared by web and workers; unset = the file execution.token in TRADEWIND_HOME"),
    key!("execution" "lease" Kind::Seconds(1.0), "10", "Seconds without a heartbeat until an attempt counts as lost"),
    key!("worker" "name" Kind::Text, "", "Worker name; unset = celery@HOST"),
    key!("worker" "queues" Kind::List, "default", "Queues to consume", "AIRFLOW__OPERATORS__DEFAULT_QUEUE"),
    key!("worker" "exclude_queues" Kind::List, "", "Queues not to consume although they are listed"),
    key!("worker" "concurrency" Kind::Int(1, 10_000), "16", "Tasks run at once", "AIRFLOW__CELERY__WORKER_CONCURRENCY"),
    key!("worker" "grace" Kind::Seconds(0.0), "30", "Seconds that running tasks get after SIGTERM before they are handed back"),
    key!("worker" "autoscale" Kind::Range, "", "Concurrency by demand, MAX,MIN; unset = fixed"),
    key!("worker" "autoscale_keepalive" Kind::Seconds(0.0), "30", "Seconds without need until autoscale takes slots away again"),
    key!("worker" "max_tasks_per_child" Kind::Int(0, 1_000_000_000), "0", "Tasks until a child process is replaced; 0 = no limit"),
    key!("worker" "max_memory_per_child" Kind::Int(0, 1_000_000_000), "0", "Resident KiB above which a child process is replaced after its task; 0 = no limit"),
    key!("worker" "send_events" Kind::Bool, "false", "Send task events, as with -E"),
    key!("worker" "remote_control" Kind::Bool, "true", "Answer inspect and control commands"),
    key!("worker" "quarantine_after" Kind::Int(1, 1000), "3", "Workers that a message may take with it before it is quarantined"),
    key!("worker" "time_limit" Kind::Seconds(0.0), "0", "Hard time limit in seconds of fleet tasks that have none; 0 = no limit"),
    key!("worker" "soft_time_limit" Kind::Seconds(0.0), "0", "Soft time limit in seconds of fleet tasks that have none; 0 = no limit"),
    key!("worker" "canary" Kind::Int(0, 3600), "2", "Seconds between two messages that a worker sends itself to prove that it consumes, which is its readiness; 0 = none"),
    key!("worker" "exit_when_unreachable" Kind::Seconds(0.0), "0", "Seconds without a working consumer after which the worker exits non-zero; 0 = never"),
    key!("worker" "ops_port" Kind::Int(-1, 65535), "-1", "Port of /metrics and /health of this worker; 0 = any free one, -1 = none"),
    key!("scheduler" "ops_port" Kind::Int(-1, 65535), "-1", "Port of /metrics and /health of this scheduler; 0 = any free one, -1 = none"),
    key!("scheduler" "parsing_processes" Kind::Int(1, 64), "2", "DAG files parsed at once", "AIRFLOW__SCHEDULER__PARSING_PROCESSES", "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES"),
    key!("scheduler" "parse_timeout" Kind::Seconds(0.1), "30", "Seconds until a DAG file that does not finish loading is given up", "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"),
    key!("scheduler" "lost_max" Kind::Int(0, 1000), "5", "Attempts of one task instance that may be lost to dead workers before it fails"),
    key!("flower" "host" Kind::Text, "127.0.0.1", "Address that `tradewind flower` listens on", "FLOWER_ADDRESS"),
    key!("flower" "port" Kind::Int(0, 65535), "5555", "Port that `tradewind flower` listens on; 0 = any free one", "FLOWER_PORT"),
    key!("flower" "basic_auth" Kind::Secret, "", "user:password pairs, separated by commas, that may use the API", "FLOWER_BASIC_AUTH"),
    key!("flower" "unauthenticated_api" Kind::Bool, "false", "Serve the API to everybody", "FLOWER_UNAUTHENTICATED_API"),
    key!("flower" "read_only" Kind::Bool, "false", "Refuse calls that change something", "FLOWER_READ_ONLY"),
    key!("flower" "url_prefix" Kind::Text, "", "Path before every route, as in /flower", "FLOWER_URL_PREFIX"),
    key!("flower" "enable_events" Kind::Bool, "true", "Ask workers to send task events", "FLOWER_ENABLE_EVENTS"),
    key!("flower" "purge_offline_workers" Kind::Seconds(1.0), "600", "Seconds after which a worker that is offline is forgotten", "FLOWER_PURGE_OFFLINE_WORKERS"),
    key!("flower" "refresh" Kind::Seconds(1.0), "15", "Seconds between two looks at the queues"),
    key!("flower" "max_tasks" Kind::Int(1, 10_000_000), "100000", "Tasks remembered", "FLOWER_MAX_TASKS"),
    key!("flower" "max_workers" Kind::Int(1, 1_000_000), "5000", "Workers remembered", "FLOWER_MAX_WORKERS"),
    key!("flower" "data" Kind::Path, "{home}/flower", "Folder of the history"),
    key!("logging" "level" Kind::Text, "info", "Log filter, as in `info,tradewind_worker=debug`"),
    key!("logging" "format" Kind::OneOf(&["auto", "text", "json"]), "auto", "Log lines for people or programs; auto = text on a terminal"),
    key!("telemetry" "otlp_endpoint" Kind::Url(&["http", "https"]), "", "OTLP/HTTP endpoint for traces, as in http://collector:4318; unset = no traces"),
];

/// A key by its names.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}
