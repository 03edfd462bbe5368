//! A soak of the fleet: many small tasks while workers are killed, links are cut and poison is about, and an
//! account of each.

mod account;
mod offer;
mod settle;
mod trouble;
mod vitals;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tradewind_broker::client::{Client, ClientOptions};
use tradewind_services::{Proxy, Rabbit, Redis, RedisOptions};

use crate::celery::Setting;
use crate::cli::Env;
use crate::fleet::{Role, free_port};

pub use account::{Account, Letters};
pub use vitals::Vitals;

use trouble::Trouble;

/// How long the monitor may take to listen.
const MONITOR_WITHIN: Duration = Duration::from_secs(30);
/// Most tasks that the monitor keeps: soon full, so that its memory is flat for the rest of the soak.
const MONITOR_TASKS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// On RabbitMQ instead of Redis. Results are in Redis either way.
    pub rabbitmq: bool,
    /// How many tasks.
    pub tasks: usize,
    /// Workers that are killed in turn, and by poison, beside one that stays.
    pub victims: usize,
    /// Between two kills, about.
    pub kill_every: Duration,
    /// Between two cuts, about.
    pub cut_every: Duration,
    /// The workers' lease: how long Redis waits for one that was killed.
    pub lease: Duration,
    /// Between two lines that say how far it is.
    pub tell_every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Failing,
    Retrying,
    /// Kills the worker that runs it.
    Poison,
    /// Nobody can read its body.
    Unreadable,
}

/// 1 % fail, 1 % retry, 0.1 % are poison, 0.1 % cannot be read.
fn kind(number: usize) -> Kind {
    match number % 1000 {
        999 => Kind::Poison,
        500 => Kind::Unreadable,
        n if n % 100 == 7 => Kind::Failing,
        n if n % 100 == 13 => Kind::Retrying,
        _ => Kind::Plain,
    }
}

/// One number in ten goes to the ward, the queue that the steady worker does not consume: with the poison,
/// and with healthy neighbours that must not suffer for it.
fn is_in_ward(number: usize) -> bool {
    number % 10 == 9
}

/// A task that was sent.
#[derive(Debug)]
struct Sent {
    id: String,
    kind: Kind,
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

/// The two queues.
#[derive(Debug, Clone)]
struct Queues {
    main: String,
    ward: String,
}

/// Runs the plan to its end.
///
/// # Panics
/// When a server or worker cannot be started, the broker refuses tasks, or what nobody kills dies.
pub async fn run(plan: Plan) -> Account {
    let servers = Servers::start(plan.rabbitmq);
    let workers = servers.workers();
    let queues = Queues { main: workers.queue.clone(), ward: format!("{}-ward", workers.queue) };
    let ticks = workers.home().join("ticks.txt");
    // It alone sends events: what the monitor keeps is bounded, what one worker sends is enough to fill it.
    let lease = plan.lease.as_millis().to_string();
    let mut steady = workers.rust_worker("celery@steady", &[("FLEET_LEASE_MS", &lease)]);
    let mut monitor = monitor(&workers, plan);
    let client = client(&servers, &queues.main).await;
    let watched = vec![Vitals::of("worker", steady.pid()), Vitals::of("monitor", monitor.pid())];
    let trouble = Arc::new(Trouble::new(plan, watched));
    let begun = Instant::now();
    let mut account = Account::default();
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| trouble.make(&workers, &queues, &servers.proxy));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let sent = runtime.block_on(offer::offer(&client, &queues, plan, &ticks, &trouble));
            runtime.block_on(settle::settle(&client, &queues, &sent, &mut account, &trouble));
        });
        trouble.stop();
        maker.join().expect("the trouble maker");
    });
    account.seconds = begun.elapsed().as_secs_f64();
    account.twice = settle::twice(&ticks);
    trouble.enter(&mut account);
    assert!(steady.alive(), "the worker that nobody kills goes on");
    assert!(monitor.alive(), "the monitor goes on");
    account
}

/// `tradewind flower`, which reaches the broker as the workers do.
fn monitor(workers: &Setting, plan: Plan) -> Role {
    let mut env = Env::new(workers.home());
    let tasks = (plan.tasks / 20).clamp(100, MONITOR_TASKS_MAX);
    env.set("TRADEWIND__BROKER__URL", &workers.broker)
        .set("TRADEWIND__RESULTS__URL", &workers.results)
        .set("TRADEWIND__FLOWER__MAX_TASKS", tasks.to_string());
    let command = env.command(&["flower", "--port", &free_port().to_string()]);
    let mut role = Role::launch("monitor", command, workers.home());
    role.wait_for("flower ready", MONITOR_WITHIN);
    role
}

async fn client(servers: &Servers, queue: &str) -> Client {
    let mut options = ClientOptions::new(servers.broker());
    options.result_url = Some(servers.redis.url().to_owned());
    options.default_queue = queue.to_owned();
    Client::connect(options).await.expect("a client")
}

/// What a task is told: where the account of runs is kept.
fn path(ticks: &Path) -> String {
    ticks.display().to_string()
}
