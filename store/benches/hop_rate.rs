//! How fast hop commits are: one attempt ends, the next task is scheduled and queued. Run it with
//! `cargo bench -p tradewind-store --features conformance`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tradewind_services::shared;
use tradewind_store::conformance::{Bench, hop};
use tradewind_store::{AdminStore, Options, PostgresStore, SqliteStore, Store};

const LENGTH: usize = 500;

async fn measure(name: &str, bench: &Bench) {
    for parallel in [1, 8] {
        let started = Instant::now();
        let chain = |i| hop::chain(bench, i, LENGTH);
        let mut times: Vec<Duration> = match parallel {
            1 => chain(0).await,
            _ => {
                let (a, b, c, d) = tokio::join!(chain(1), chain(2), chain(3), chain(4));
                let (e, f, g, h) = tokio::join!(chain(5), chain(6), chain(7), chain(8));
                [a, b, c, d, e, f, g, h].concat()
            }
        };
        let rate = times.len() as f64 / started.elapsed().as_secs_f64();
        times.sort();
        let p = |q: usize| times[times.len() * q / 100];
        println!(
            "{name}: {} chains at once, {rate:.0} hops/s (claim and commit), commit alone \
             p50 {:?} p99 {:?}",
            parallel,
            p(50),
            p(99)
        );
    }
}

async fn sqlite() {
    let dir = tempfile::tempdir().expect("a temp folder");
    let store = SqliteStore::open(dir.path().join("store.db")).expect("opened");
    store.migrate().await.expect("migrated");
    measure("sqlite", &Bench::new(vec![Arc::new(store) as Arc<dyn Store>], dir)).await;
}

#[tokio::main]
async fn main() {
    sqlite().await;
    postgres().await;
}

async fn postgres() {
    let server = tokio::task::spawn_blocking(shared::postgres_url).await.expect("a server");
    let url = format!("{server}?schema={}", tradewind_services::unique("hops"));
    let store = PostgresStore::connect(&url, &Options::default()).expect("a usable URL");
    store.migrate().await.expect("migrated");
    measure("postgres", &Bench::new(vec![Arc::new(store) as Arc<dyn Store>], ())).await;
}
