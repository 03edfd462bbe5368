//! The web process as far as schedulers see it: it heartbeats while it answers workers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tradewind_proto::clock::{Clock as _, Ids as _};
use tradewind_store::AdminStore as _;
use tradewind_store::model::JobRow;

use crate::faults::Fault;
use crate::life::Life;
use crate::store::FaultyStore;
use crate::world::World;

/// As often as schedulers do.
const INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a failure, and between looks whether an outage is over.
const RETRY: Duration = Duration::from_millis(500);

/// Runs as long as the world.
pub(crate) async fn heartbeat(world: Arc<World>, life: Arc<Life>) {
    let mut job = JobRow {
        id: world.ids().next(),
        job_type: "WebJob".to_owned(),
        hostname: life.name.clone(),
        ended: false,
        started_at: world.clock.now(),
        heartbeat_at: world.clock.now(),
    };
    let store = FaultyStore { world: Arc::clone(&world), life };
    loop {
        if world.faults.outage_is_on(Fault::ApiOutage) {
            sleep(RETRY).await;
            continue;
        }
        job.heartbeat_at = world.clock.now();
        let pause = if store.job_heartbeat(&job).await.is_ok() { INTERVAL } else { RETRY };
        sleep(pause).await;
    }
}
