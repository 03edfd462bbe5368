//! A soak of the fleet: many small tasks while workers are killed and links are cut, and an account of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tradewind_broker::client::{Client, ClientOptions, TaskCall};
use tradewind_proto::message::TaskMessage;
use tradewind_services::{Proxy, Rabbit, Redis, RedisOptions};

use crate::celery::Setting;
use crate::fleet::Role;
use crate::poll::pause;

/// Tasks sent, or looked up, in one go.
const BATCH: usize = 500;
/// Workers that are killed in turn, beside one that stays.
const VICTIMS: usize = 2;
/// How long a link stays cut.
const CUT: Duration = Duration::from_millis(300);
/// How long nothing may change at the end before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// On RabbitMQ instead of Redis. Results are in Redis either way.
    pub rabbitmq: bool,
    /// How many tasks.
    pub tasks: usize,
    /// Between two kills.
    pub kill_every: Duration,
    /// Between two cuts.
    pub cut_every: Duration,
}

/// The account. `offered` is the sum of `succeeded`, `failed`, `quarantined` and `lost`.
#[derive(Debug, Default)]
pub struct Account {
    /// Confirmed by the broker.
    pub offered: usize,
    /// State SUCCESS.
    pub succeeded: usize,
    /// State FAILURE.
    pub failed: usize,
    /// Of the succeeded: those that asked for a retry first.
    pub retried: usize,
    /// In the dead-letter queue, with a reason.
    pub quarantined: usize,
    /// Neither.
    pub lost: usize,
    /// Ran more than once.
    pub twice: usize,
    /// Workers killed.
    pub kills: usize,
    /// Links cut.
    pub cuts: usize,
    /// Seconds from the first task sent to the last result.
    pub seconds: f64,
    /// Resident memory of the worker that stayed, in KiB: early and at the end.
    pub rss_kib: (u64, u64),
    /// Its file descriptors: early and at the end.
    pub fds: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Failing,
    Retrying,
    Poison,
}

/// 1 % fail, 1 % retry, 0.1 % are no messages that anybody can read.
fn kind(number: usize) -> Kind {
    match number % 1000 {
        999 => Kind::Poison,
        n if n % 100 == 7 => Kind::Failing,
        n if n % 100 == 13 => Kind::Retrying,
        _ => Kind::Plain,
    }
}

struct Servers {
    redis: Redis,
    rabbit: Option<Rabbit>,
    proxy: Proxy,
}

impl Servers {
    fn start(rabbitmq: bool) -> Self {
        let redis = Redis::start(RedisOptions { appendonly: false }).expect("Redis starts");
        let rabbit = rabbitmq.then(|| Rabbit::start().expect("RabbitMQ starts"));
        let port = rabbit.as_ref().map_or(redis.port(), Rabbit::port);
        let proxy = Proxy::start(port).expect("a proxy");
        Self { redis, rabbit, proxy }
    }

    fn broker(&self) -> &str {
        self.rabbit.as_ref().map_or(self.redis.url(), Rabbit::url)
    }

    /// Workers reach the broker through the proxy.
    fn workers(&self) -> Setting {
        Setting::new(&self.proxy.url(self.broker()), self.redis.url())
    }
}

/// Runs the plan to its end.
///
/// # Panics
/// When a server or worker cannot be started, or the broker refuses tasks.
pub async fn run(plan: Plan) -> Account {
    let servers = Servers::start(plan.rabbitmq);
    let workers = servers.workers();
    let ticks = workers.home().join("ticks.txt");
    let mut steady = workers.rust_worker("celery@steady", &[("FLEET_EVENTS", "0")]);
    let client = client(&servers, &workers.queue).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut account = Account::default();
    let begun = Instant::now();
    let mut early = None;
    std::thread::scope(|scope| {
        let trouble = scope.spawn(|| trouble(plan, &workers, &servers.proxy, &stop));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let sent = runtime.block_on(offer(&client, &workers.queue, plan.tasks, &ticks));
            early = Some(usage(&steady));
            account.offered = sent.len();
            runtime.block_on(settle(&client, &workers.queue, &sent, &mut account));
        });
        stop.store(true, Ordering::Relaxed);
        (account.kills, account.cuts) = trouble.join().expect("the trouble maker");
    });
    account.seconds = begun.elapsed().as_secs_f64();
    account.twice = twice(&ticks);
    let (early, end) = (early.unwrap_or_default(), usage(&steady));
    (account.rss_kib, account.fds) = ((early.0, end.0), (early.1, end.1));
    assert!(steady.alive(), "the worker that nobody kills goes on");
    account
}

async fn client(servers: &Servers, queue: &str) -> Client {
    let mut options = ClientOptions::new(servers.broker());
    options.result_url = Some(servers.redis.url().to_owned());
    options.default_queue = queue.to_owned();
    Client::connect(options).await.expect("a client")
}

/// Sends everything; the ids, poison without.
async fn offer(client: &Client, queue: &str, tasks: usize, ticks: &Path) -> Vec<Option<String>> {
    let mut sent = Vec::with_capacity(tasks);
    let ticks = ticks.display().to_string();
    for start in (0..tasks).step_by(BATCH) {
        let numbers = start..tasks.min(start + BATCH);
        let calls = numbers.clone().filter_map(|number| match kind(number) {
            Kind::Poison => None,
            Kind::Failing => Some(TaskCall::new("fleet.fail").arg("as planned")),
            Kind::Retrying => Some(TaskCall::new("fleet.retry_once")),
            Kind::Plain => Some(TaskCall::new("fleet.tick").args((&ticks, number))),
        });
        for handle in client.send_many(calls.collect()).await {
            sent.push(Some(handle.expect("sent").id().to_owned()));
        }
        for _ in numbers.filter(|number| kind(*number) == Kind::Poison) {
            let mut poison = TaskMessage::json(
                "fleet.noop",
                uuid::Uuid::new_v4(),
                &serde_json::json!([]),
                &serde_json::json!({}),
            );
            poison.body = b"[[], {}, ".to_vec();
            client.broker().publish(queue, poison).await.expect("published");
            sent.push(None);
        }
    }
    sent
}

/// Waits until every task has ended, or nothing has changed for long.
async fn settle(client: &Client, queue: &str, sent: &[Option<String>], account: &mut Account) {
    let mut open: Vec<&String> = sent.iter().flatten().collect();
    let poison = sent.len() - open.len();
    let mut changed = Instant::now();
    while changed.elapsed() < PATIENCE {
        let before = (open.len(), account.quarantined);
        let mut left = Vec::new();
        for batch in open.chunks(BATCH) {
            let looks = batch.iter().map(|id| client.results().get(id));
            for (id, found) in batch.iter().zip(join_all(looks).await) {
                match found.ok().flatten().map(|stored| stored.state) {
                    Some(state) if state == "SUCCESS" => account.succeeded += 1,
                    Some(state) if state == "FAILURE" => account.failed += 1,
                    _ => left.push(*id),
                }
            }
        }
        open = left;
        account.quarantined = quarantined(client, queue).await;
        if open.is_empty() && account.quarantined >= poison {
            break;
        }
        if before != (open.len(), account.quarantined) {
            changed = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    account.retried = (0..sent.len()).filter(|n| kind(*n) == Kind::Retrying).count();
    account.lost = open.len() + poison.saturating_sub(account.quarantined);
}

async fn quarantined(client: &Client, queue: &str) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let page = client.broker().dead_letters(queue, BATCH, after.as_deref()).await;
        let page = page.unwrap_or_default();
        count += page.iter().filter(|letter| !letter.reason.is_empty()).count();
        match page.last() {
            Some(last) if page.len() == BATCH => after = Some(last.id.clone()),
            _ => return count,
        }
    }
}

/// Kills and cuts until told to stop; how often.
fn trouble(plan: Plan, workers: &Setting, proxy: &Proxy, stop: &AtomicBool) -> (usize, usize) {
    let spawn = |number: usize| {
        workers.spawn_rust(&format!("celery@victim{number}"), &[("FLEET_EVENTS", "0")])
    };
    let mut victims: Vec<Role> = (0..VICTIMS).map(spawn).collect();
    let (mut kills, mut cuts) = (0, 0);
    let (mut killed, mut cut) = (Instant::now(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        if killed.elapsed() >= plan.kill_every {
            let number = kills % VICTIMS;
            victims[number].kill9();
            victims[number] = spawn(number);
            kills += 1;
            killed = Instant::now();
        }
        if cut.elapsed() >= plan.cut_every {
            proxy.cut();
            pause(CUT);
            proxy.restore();
            cuts += 1;
            cut = Instant::now();
        }
        pause(Duration::from_millis(50));
    }
    (kills, cuts)
}

/// How many numbers were written more than once.
fn twice(ticks: &Path) -> usize {
    let text = std::fs::read_to_string(ticks).unwrap_or_default();
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        *runs.entry(line).or_default() += 1;
    }
    runs.values().filter(|count| **count > 1).count()
}

/// Resident memory in KiB and file descriptors of a process.
fn usage(role: &Role) -> (u64, usize) {
    let proc = Path::new("/proc").join(role.pid().to_string());
    let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let rss = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    (rss, std::fs::read_dir(proc.join("fd")).map_or(0, Iterator::count))
}
