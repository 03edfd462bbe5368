//! The execution API's seam: a worker's calls reach the real service, or not.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::sleep;
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, HeartbeatReply, HeartbeatRequest, KeysReply, LogChunks,
    VariableQuery, VariableReply, XcomQuery, XcomReply,
};
use tradewind_web::{ExecutionError, ExecutionService};
use tradewind_worker::{ApiError, ExecutionApi};

use crate::faults::{API, Fate, Fault, SLOW};
use crate::life::Life;
use crate::world::World;

/// A worker's handle on the execution API.
#[derive(Debug, Clone)]
pub(crate) struct FaultyApi {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
    pub(crate) service: ExecutionService,
}

impl FaultyApi {
    async fn call<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, ExecutionError>>,
    ) -> Result<T, ApiError> {
        let away = |reason: &str| ApiError::Unavailable(reason.to_owned());
        let call = async {
            let World { faults, rng, .. } = &*self.world;
            let delay = faults.delay(API, rng);
            sleep(delay / 2).await;
            self.life.gate().await;
            if faults.is_out(Fault::ApiOutage) {
                return Err(away("simulated outage"));
            }
            let fate = faults.fate(API, rng);
            if fate != Fate::Works || delay >= SLOW {
                self.world.troubled(what);
            }
            self.world.call(&self.life, what);
            if fate == Fate::Refused {
                return Err(away("simulated failure before the effect"));
            }
            let answer = work.await;
            sleep(delay / 2).await;
            if fate == Fate::AnswerLost {
                self.world.note(format!("{} {what}: answer lost", self.life.name));
                return Err(away("simulated loss of the answer"));
            }
            answer.map_err(|error| match error {
                ExecutionError::Refused(text) => ApiError::Refused(text),
                ExecutionError::Unavailable(text) | ExecutionError::Internal(text) => {
                    ApiError::Unavailable(text)
                }
            })
        };
        self.life.call(call).await
    }
}

#[async_trait]
impl ExecutionApi for FaultyApi {
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ApiError> {
        self.call("API claim", self.service.claim(request)).await
    }

    async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError> {
        self.call("API heartbeat", self.service.heartbeat(request)).await
    }

    async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ApiError> {
        self.call("API xcom", self.service.xcom(query)).await
    }

    async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ApiError> {
        self.call("API variable", self.service.variable(query)).await
    }

    async fn logs(&self, chunks: &LogChunks) -> Result<(), ApiError> {
        self.call("API logs", self.service.logs(chunks)).await
    }

    async fn keys(&self) -> Result<KeysReply, ApiError> {
        self.call("API keys", self.service.keys()).await
    }
}
