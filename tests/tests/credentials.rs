//! Passwords of URLs are nowhere to be seen: not in output, metrics or answers of the fleet's processes, not
//! in the command lines of what they start, not in the environment of tasks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tradewind_services::{Redis, RedisOptions, shared, unique};
use tradewind_tests::fleet::{Fleet, Role, free_port};
use tradewind_tests::poll::until;

const SOON: Duration = Duration::from_secs(60);
/// As it is, and as it stands in a URL.
const PASSWORD: &str = "hunter2/pass";
const IN_URL: &str = "hunter2%2Fpass";

fn assert_clean(what: &str, text: &str) {
    for secret in [PASSWORD, IN_URL, "hunter2"] {
        if let Some(place) = text.find(secret) {
            let line = text[..place].matches('\n').count() + 1;
            panic!("{what} shows a password in line {line}:\n{text}");
        }
    }
}

#[test]
fn passwords_of_urls_are_not_shown() {
    let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
    require_password(redis.port());
    let broker = format!("redis://:{IN_URL}@127.0.0.1:{}/0", redis.port());
    // It trusts everybody, whatever they say.
    let results = shared::postgres_url().replace("postgres@", &format!("postgres:{IN_URL}@"));
    let mut fleet = Fleet::new(&broker, &results, "");
    fleet.env.vars.remove("TRADEWIND__DATABASE__URL");
    // Spellings of others name the same URLs.
    fleet.env.set("CELERY_BROKER_URL", &broker).set("CELERY_RESULT_BACKEND", &results);
    fleet.env.set("TRADEWIND__LOGGING__LEVEL", "debug");
    fleet.env.set("FLOWER_UNAUTHENTICATED_API", "true");
    let queue = unique("secrets");
    let config = format!(
        "[tasks.\"{queue}.sleep\"]\ncommand = ['sleep', '600']\nqueue = '{queue}'\n\
         [tasks.\"{queue}.nap\"]\npython = 'time:sleep'\nqueue = '{queue}'\n\
         [beat.tick]\ntask = 'tradewind.noop'\nevery = 1\nqueue = '{queue}'\n"
    );
    std::fs::write(fleet.home().join("tradewind.toml"), config).expect("configuration");
    let (ops, port) = (free_port(), free_port());
    let ops_port = ops.to_string();
    fleet.env.set("TRADEWIND__WORKER__OPS_PORT", &ops_port);
    let node = format!("celery@{queue}");
    let flower = fleet.spawn(&["flower", "--port", &port.to_string()]);
    let worker = fleet.spawn(&["worker", "-Q", &queue, "-n", &node, "-E"]);
    let beat = fleet.spawn(&["beat"]);
    for (task, args) in [("sleep", "[]"), ("nap", "[600]")] {
        fleet.env.ok(&["task", "send", &format!("{queue}.{task}"), "-a", args, "-q", &queue]);
    }
    let to = ["-d", node.as_str(), "-t", "20"];
    let ask = |words: &[&str]| fleet.env.ok(&[words, &to[..]].concat());
    until("both tasks to run", SOON, || {
        let active = fleet.env.run(&[&["inspect", "active"][..], &to[..]].concat());
        let active = String::from_utf8_lossy(&active.stdout).into_owned();
        (active.contains(".sleep") && active.contains(".nap")).then_some(())
    });
    until("the monitor to know the worker", SOON, || {
        get(port, "/api/workers").contains(&node).then_some(())
    });

    for words in ["conf", "stats", "report", "active"] {
        assert_clean(words, &ask(&["inspect", words]));
    }
    assert_clean("config list", &fleet.env.ok(&["config", "list"]));
    for path in ["/metrics", "/health/live", "/health/ready"] {
        let answer = get(ops, path);
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
        assert_clean(path, &answer);
    }
    for path in ["/metrics", "/api/workers?refresh=1", "/api/tasks", "/api/queues/length", "/"] {
        assert_clean(path, &get(port, path));
    }
    children_are_clean(&[&worker, &flower, &beat]);

    // What is said when a server does not let us in, or is away.
    let mut lost = fleet;
    lost.env.set("TRADEWIND__BROKER__URL", broker.replace("hunter2", "hunter2-wrong"));
    for args in [&["task", "send", "t", "-q", &queue][..], &["status"], &["dlq", "list", "x"]] {
        let output = lost.env.run(args);
        assert!(!output.status.success(), "{args:?}");
        assert_clean("a refusal", &String::from_utf8_lossy(&output.stdout));
        assert_clean("a refusal", &String::from_utf8_lossy(&output.stderr));
    }
    drop(redis);
    let away =
        |role: &Role| role.log().matches("WARN").count() + role.log().matches("ERROR").count();
    until("the worker to miss its broker", SOON, || (away(&worker) > 0).then_some(()));
    for role in [&worker, &flower, &beat] {
        assert_clean("a log", &role.log());
        assert_clean("an output", &role.output());
    }
}

/// Neither command lines nor, for tasks, environments of what the roles have started show a password.
fn children_are_clean(roles: &[&Role]) {
    let mut children = 0;
    for role in roles {
        for pid in descendants(role.pid()) {
            children += 1;
            for file in ["cmdline", "environ"] {
                // One that has just ended has none.
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).replace('\0', "\n");
                if file == "cmdline" || text.contains("TRADEWIND_ATTEMPT_ID=") {
                    assert_clean(&format!("{file} of a child"), &text);
                }
            }
        }
    }
    assert!(children >= 2, "the tasks run in {children} processes");
}

/// From now on clients must name the password.
fn require_password(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("Redis");
    write!(stream, "CONFIG SET requirepass {PASSWORD}\r\n").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+OK\r\n");
}

/// All processes below one.
fn descendants(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let children: Vec<u32> = children.filter_map(|child| child.parse().ok()).collect();
    children.into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// A GET over a plain socket; all of the answer, nothing while nobody listens.
fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}
