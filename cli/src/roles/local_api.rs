//! The execution API without HTTP, for a worker in the same process as the store.

use async_trait::async_trait;
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, HeartbeatReply, HeartbeatRequest, KeysReply, LogChunks,
    VariableQuery, VariableReply, XcomQuery, XcomReply,
};
use tradewind_web::{ExecutionError, ExecutionService};
use tradewind_worker::{ApiError, ExecutionApi};

/// Calls the service directly.
#[derive(Debug, Clone)]
pub(crate) struct LocalApi(pub(crate) ExecutionService);

fn api_error(error: ExecutionError) -> ApiError {
    match error {
        ExecutionError::Refused(text) => ApiError::Refused(text),
        ExecutionError::Unavailable(text) | ExecutionError::Internal(text) => {
            ApiError::Unavailable(text)
        }
    }
}

#[async_trait]
impl ExecutionApi for LocalApi {
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ApiError> {
        self.0.claim(request).await.map_err(api_error)
    }

    async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError> {
        self.0.heartbeat(request).await.map_err(api_error)
    }

    async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ApiError> {
        self.0.xcom(query).await.map_err(api_error)
    }

    async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ApiError> {
        self.0.variable(query).await.map_err(api_error)
    }

    async fn logs(&self, chunks: &LogChunks) -> Result<(), ApiError> {
        self.0.logs(chunks).await.map_err(api_error)
    }

    async fn keys(&self) -> Result<KeysReply, ApiError> {
        self.0.keys().await.map_err(api_error)
    }
}
