//! A worker whose broker is cut off, falls silent, dies or blocks: it is not ready for as long, and takes
//! tasks again within ten seconds of the end of the fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{BrokerOptions, MemoryResults, open};
use tradewind_proto::clock::SystemClock;
use tradewind_proto::message::TaskMessage;
use tradewind_services::{Proxy, Rabbit, Redis, RedisOptions};
use tradewind_worker::fleet::{FleetWorker, Tasks};
use tradewind_worker::{DrainReport, Error};
use uuid::Uuid;

/// What is promised.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// Within which a fault must show in the readiness.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Generous: machines of CI may be slow.
const WAIT: Duration = Duration::from_secs(60);
const QUEUE: &str = "outage";

struct Rig {
    proxy: Proxy,
    /// Past the proxy.
    url: String,
    /// The last task that ran.
    ran: watch::Receiver<u64>,
    ready: watch::Receiver<bool>,
    sent: u64,
    shutdown: CancellationToken,
    running: JoinHandle<Result<DrainReport, Error>>,
}

impl Rig {
    /// A worker behind a proxy, proven to consume.
    async fn start(port: u16, url: &str) -> Self {
        let proxy = Proxy::start(port).expect("proxy");
        let broker = open(&proxy.url(url), &BrokerOptions::default(), Arc::new(SystemClock)).await;
        let (tell, ran) = watch::channel(0);
        let mut tasks = Tasks::default();
        tasks.add("mark", move |_context, (number,): (u64,)| {
            tell.send_replace(number);
            std::future::ready(Ok(()))
        });
        let worker = FleetWorker::builder(broker.expect("broker"), Arc::new(MemoryResults::new()))
            .tasks(tasks)
            .queues([QUEUE])
            .concurrency(2)
            .options(|options| (options.canary_seconds, options.grace_seconds) = (1, 0))
            .build()
            .expect("worker");
        let (ready, shutdown) = (worker.ready(), CancellationToken::new());
        let running = tokio::spawn(worker.run(shutdown.clone()));
        let url = url.to_owned();
        let mut rig = Self { proxy, url, ran, ready, sent: 0, shutdown, running };
        rig.until_ready(true, WAIT).await;
        rig.consumes_again("at the start", Instant::now()).await;
        rig
    }

    async fn until_ready(&mut self, ready: bool, limit: Duration) {
        let turned = tokio::time::timeout(limit, self.ready.wait_for(|now| *now == ready)).await;
        turned.unwrap_or_else(|_| panic!("ready = {ready} within {limit:?}")).expect("it lives");
    }

    /// Sends a task past the proxy; it must have run by the promised time.
    async fn consumes_again(&mut self, what: &str, since: Instant) {
        self.sent += 1;
        let (args, wanted) = (json!([self.sent]), self.sent);
        let message = TaskMessage::json("mark", Uuid::now_v7(), &args, &json!({}));
        let direct = open(&self.url, &BrokerOptions::default(), Arc::new(SystemClock)).await;
        let direct = direct.expect("broker");
        direct.publish(QUEUE, message).await.expect("published");
        let ran = tokio::time::timeout(WAIT, self.ran.wait_for(|number| *number >= wanted)).await;
        ran.expect("it runs at all").expect("it lives");
        let took = since.elapsed();
        println!("{what}: consumes again after {took:?}");
        assert!(took <= AGAIN_WITHIN, "{what}: consuming again took {took:?}");
        direct.close().await;
    }

    async fn a_cut_link(&mut self) {
        self.proxy.cut();
        self.until_ready(false, NOTICED_WITHIN).await;
        self.proxy.restore();
        self.consumes_again("a cut link", Instant::now()).await;
        self.until_ready(true, WAIT).await;
    }

    async fn a_black_hole(&mut self) {
        self.proxy.black_hole();
        self.until_ready(false, NOTICED_WITHIN).await;
        self.proxy.restore();
        self.consumes_again("a black hole", Instant::now()).await;
        self.until_ready(true, WAIT).await;
    }

    /// Connections that never end and never pass anything: only new ones are of use.
    async fn a_lost_connection(&mut self) {
        self.proxy.lose();
        self.consumes_again("lost connections", Instant::now()).await;
        self.until_ready(true, WAIT).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let report = tokio::time::timeout(WAIT, self.running).await.expect("it drains in time");
        report.expect("no panic").expect("no error");
    }
}

/// A server that an outage happens to.
trait Server {
    fn port(&self) -> u16;
    fn url(&self) -> String;
    fn kill9(&mut self);
    fn restart(&mut self) -> Result<(), tradewind_services::Error>;
}

macro_rules! server {
    ($($kind:ty),*) => {$(
        impl Server for $kind {
            fn port(&self) -> u16 {
                <$kind>::port(self)
            }
            fn url(&self) -> String {
                <$kind>::url(self).to_owned()
            }
            fn kill9(&mut self) {
                <$kind>::kill9(self);
            }
            fn restart(&mut self) -> Result<(), tradewind_services::Error> {
                <$kind>::restart(self)
            }
        }
    )*};
}

server!(Redis, Rabbit);

fn redis() -> Redis {
    Redis::start(RedisOptions { appendonly: true }).expect("Redis")
}

fn rabbitmq() -> Rabbit {
    Rabbit::start().expect("RabbitMQ")
}

async fn cut_off_and_silent(server: &impl Server) -> Rig {
    let mut rig = Rig::start(server.port(), &server.url()).await;
    rig.a_cut_link().await;
    rig.a_black_hole().await;
    rig
}

async fn lost_and_killed(mut server: impl Server) {
    let mut rig = Rig::start(server.port(), &server.url()).await;
    rig.a_lost_connection().await;
    tokio::task::block_in_place(|| server.kill9());
    rig.until_ready(false, NOTICED_WITHIN).await;
    tokio::task::block_in_place(|| server.restart()).expect("it starts again");
    rig.consumes_again("a killed server", Instant::now()).await;
    rig.until_ready(true, WAIT).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cut_off_and_silent() {
    let server = redis();
    cut_off_and_silent(&server).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_lost_and_killed() {
    lost_and_killed(redis()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_cut_off_silent_and_blocked() {
    let server = rabbitmq();
    let mut rig = cut_off_and_silent(&server).await;
    // The memory alarm: who publishes is not read from any more.
    let ctl = |limit| server.ctl(&["set_vm_memory_high_watermark", limit]).expect("rabbitmqctl");
    tokio::task::block_in_place(|| ctl("0"));
    rig.until_ready(false, NOTICED_WITHIN).await;
    tokio::task::block_in_place(|| ctl("0.6"));
    rig.consumes_again("a blocked connection", Instant::now()).await;
    rig.until_ready(true, WAIT).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_lost_and_killed() {
    lost_and_killed(rabbitmq()).await;
}
