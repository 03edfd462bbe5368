//! `jobs check`: Airflow's health probe, with its exit codes and words.

use jiff::{SignedDuration, Timestamp};
use tradewind_store::Store;

use crate::args::JobsCheckArgs;
use crate::failure::Failure;

/// A job whose heartbeat is older is not alive (Airflow's `scheduler_health_check_threshold`).
const ALIVE_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Jobs looked at, newest heartbeat first, before the host filter.
const JOBS_MAX: u32 = 1000;

pub(crate) async fn check(
    store: &dyn Store,
    args: &JobsCheckArgs,
    local_host: &str,
) -> Result<(), Failure> {
    if args.allow_multiple && args.limit < 2 {
        return Err(Failure::usage("--allow-multiple needs --limit greater than 1"));
    }
    let host = if args.local { Some(local_host) } else { args.hostname.as_deref() };
    let jobs = store.jobs(args.job_type.as_deref(), JOBS_MAX).await?;
    let since = Timestamp::now() - ALIVE_WITHIN;
    let alive = jobs
        .iter()
        .filter(|job| host.is_none_or(|host| job.hostname == host))
        .filter(|job| !job.ended && job.heartbeat_at >= since)
        .take(args.limit.max(1) as usize)
        .count();
    match alive {
        0 => Err(Failure::new("No alive jobs found.")),
        1 => {
            println!("Found one alive job.");
            Ok(())
        }
        _ if args.allow_multiple => {
            println!("Found {alive} alive jobs.");
            Ok(())
        }
        _ => Err(Failure::new(format!("Found {alive} alive jobs. Expected only one."))),
    }
}
