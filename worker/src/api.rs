//! What a worker asks of the store's side while it runs attempts. Over HTTP in a fleet, in process in
//! standalone mode.

use std::fmt;

use async_trait::async_trait;
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, HeartbeatReply, HeartbeatRequest, KeysReply, LogChunks,
    VariableQuery, VariableReply, XcomQuery, XcomReply,
};

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// No answer: the API or its database is away. Try again; nothing is known about the effect.
    #[error("execution API is not reachable: {0}")]
    Unavailable(String),
    /// The token was refused.
    #[error(
        "execution API refused the token; set [execution] token to the same value on web and workers"
    )]
    Unauthorized,
    /// The request was refused; trying again will not help.
    #[error("execution API refused the request: {0}")]
    Refused(String),
}

impl ApiError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The execution API.
#[async_trait]
pub trait ExecutionApi: fmt::Debug + Send + Sync + 'static {
    /// Claims attempts. May be repeated with the same nonces.
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ApiError>;
    /// Renews leases.
    async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError>;
    /// Reads XComs.
    async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ApiError>;
    /// Reads a variable.
    async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ApiError>;
    /// Appends logs.
    async fn logs(&self, chunks: &LogChunks) -> Result<(), ApiError>;
    /// The schedulers' public keys.
    async fn keys(&self) -> Result<KeysReply, ApiError>;
}
