//! `tradewind standalone`: everything in one process, with no services.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::embedded::{Embedded, Plan};
use super::signals;
use crate::assets;
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::{Lines, Progress};
use crate::telemetry;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let folder = context.config.path("core", "dags_folder");
    if prepare_dags_folder(&folder, context.config.bool("core", "load_examples"))? {
        info!("example DAGs are in {}", folder.display());
    }
    for name in &context.config.unknown_airflow {
        warn!("{name} has no meaning here and is ignored");
    }
    let store = context.store_unchecked().await?;
    store.migrate().await?;
    let shutdown = signals::shutdown()?;
    let plan = Plan { fleet: true, ..Plan::from_config(context)? };
    let mut running = Embedded::start(context, Arc::clone(&store), plan).await?;
    let json_logs = telemetry::json_logs(&context.config);
    if let Some(address) = running.web {
        info!("standalone ready on http://{address}, DAG files in {}", folder.display());
        println!("Tradewind is at http://{address}   DAG files: {}", folder.display());
    }
    let progress = Progress::new(json_logs, Lines::Stdout);
    let result = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        failure = running.ended() => Err(failure),
        failure = progress.follow(&store) => Err(failure),
    };
    let grace = context.config.seconds("worker", "grace");
    result.and(running.stop(grace).await)
}

/// Makes the DAGs folder exist; a new one gets the examples, if wanted. Whether it did.
fn prepare_dags_folder(folder: &Path, examples: bool) -> Result<bool, Failure> {
    if folder.is_dir() {
        return Ok(false);
    }
    let failed = |error| Failure::new(format!("DAGs folder {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    if examples {
        for (name, text) in assets::example_dags() {
            fs::write(folder.join(name), text).map_err(failed)?;
        }
    }
    Ok(examples)
}
