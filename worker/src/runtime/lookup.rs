//! What running tasks ask of the execution API. An outage of the API is waited out, within bounds,
//! so that it does not fail tasks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tradewind_proto::execution::{VariableQuery, VariableReply, XcomQuery, XcomReply};

use crate::{ApiError, ExecutionApi};

/// The outage that healthy tasks must survive is 60 s.
const PATIENCE: Duration = Duration::from_secs(90);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

pub(super) async fn xcom(
    api: &Arc<dyn ExecutionApi>,
    query: &XcomQuery,
) -> Result<XcomReply, String> {
    patiently(|| api.xcom(query)).await
}

pub(super) async fn variable(
    api: &Arc<dyn ExecutionApi>,
    query: &VariableQuery,
) -> Result<VariableReply, String> {
    patiently(|| api.variable(query)).await
}

async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut delay = RETRY_MIN;
    loop {
        match call().await {
            Ok(reply) => return Ok(reply),
            Err(error) if error.is_retryable() && Instant::now() < deadline => sleep(delay).await,
            Err(error) => return Err(error.to_string()),
        }
        delay = (delay * 2).min(RETRY_MAX);
    }
}
