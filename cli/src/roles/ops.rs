//! `/metrics` and health for roles without pages.

use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tradewind_web::{BoundServer, Readiness, ops_router};

use crate::context::Context;
use crate::failure::Failure;

/// Serves on `[<role>] ops_port` in the background, unless that is −1.
pub(crate) async fn serve(
    context: &Context,
    role: &'static str,
    registry: prometheus::Registry,
    readiness: Readiness,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let Ok(port) = u16::try_from(context.config.int(role, "ops_port")) else { return Ok(()) };
    let host = context.config.text("web", "host");
    let server = BoundServer::bind(host, port, ops_router(registry, readiness))
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    info!(role, "metrics and health on http://{}", server.local_addr());
    tokio::spawn(async move {
        if let Err(error) = server.run(shutdown).await {
            error!(%error, role, "metrics and health ended");
        }
    });
    Ok(())
}
