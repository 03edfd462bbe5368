//! The execution API in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tradewind_proto::AttemptId;
use tradewind_proto::dag::TaskSpec;
use tradewind_proto::execution::{
    ClaimReply, ClaimRequest, ClaimVerdict, Grant, HeartbeatReply, HeartbeatRequest, KeysReply,
    LeaseVerdict, LogChunks, RunContext, VariableQuery, VariableReply, XcomQuery, XcomReply,
};
use tradewind_proto::sign::PublicKey;
use tradewind_proto::state::RunType;
use tradewind_worker::{ApiError, ExecutionApi};
use uuid::Uuid;

#[derive(Debug)]
struct Offer {
    token: i64,
    task: Arc<TaskSpec>,
    nonce: Option<Uuid>,
    verdict: LeaseVerdict,
}

#[derive(Debug)]
pub struct FakeApi {
    key: PublicKey,
    offers: Mutex<BTreeMap<AttemptId, Offer>>,
    pub xcoms: Mutex<BTreeMap<(String, String), Value>>,
    pub variables: Mutex<BTreeMap<String, String>>,
    logs: Mutex<BTreeMap<AttemptId, BTreeMap<u32, String>>>,
    pub down: AtomicBool,
    pub lose_claim_answers: AtomicU32,
    pub claims: AtomicU32,
    pub heartbeats: AtomicU32,
    pub refused_heartbeats: AtomicU32,
    pub key_fetches: AtomicU32,
}

fn away() -> ApiError {
    ApiError::Unavailable("down for a test".to_owned())
}

impl FakeApi {
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            offers: Mutex::default(),
            xcoms: Mutex::default(),
            variables: Mutex::default(),
            logs: Mutex::default(),
            down: AtomicBool::new(false),
            lose_claim_answers: AtomicU32::new(0),
            claims: AtomicU32::new(0),
            heartbeats: AtomicU32::new(0),
            refused_heartbeats: AtomicU32::new(0),
            key_fetches: AtomicU32::new(0),
        }
    }

    pub fn offer(&self, id: AttemptId, token: i64, task: TaskSpec) {
        let offer =
            Offer { token, task: Arc::new(task), nonce: None, verdict: LeaseVerdict::Continue };
        self.offers().insert(id, offer);
    }

    pub fn verdict(&self, id: AttemptId, verdict: LeaseVerdict) {
        self.offers().get_mut(&id).expect("offered").verdict = verdict;
    }

    pub fn is_claimed(&self, id: AttemptId) -> bool {
        self.offers().get(&id).is_some_and(|offer| offer.nonce.is_some())
    }

    pub fn log(&self, id: AttemptId) -> String {
        let logs = self.logs.lock().expect("lock");
        logs.get(&id).map(|chunks| chunks.values().cloned().collect()).unwrap_or_default()
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Offer>> {
        self.offers.lock().expect("lock")
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.down.load(Ordering::SeqCst) { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl ExecutionApi for FakeApi {
    async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ApiError> {
        self.check()?;
        self.claims.fetch_add(1, Ordering::SeqCst);
        let mut offers = self.offers();
        let verdicts = request.items.iter().map(|item| match offers.get_mut(&item.attempt_id) {
            Some(offer) if offer.token == item.token => {
                if *offer.nonce.get_or_insert(item.nonce) == item.nonce {
                    ClaimVerdict::Granted(Box::new(grant(&offer.task)))
                } else {
                    ClaimVerdict::Duplicate
                }
            }
            _ => ClaimVerdict::Stale,
        });
        let verdicts = verdicts.collect();
        let lose = |left: u32| left.checked_sub(1);
        match self.lose_claim_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose) {
            Ok(_) => Err(away()),
            Err(_) => Ok(ClaimReply { verdicts }),
        }
    }

    async fn heartbeat(&self, request: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError> {
        if let Err(error) = self.check() {
            self.refused_heartbeats.fetch_add(1, Ordering::SeqCst);
            return Err(error);
        }
        let offers = self.offers();
        let verdict = |id| offers.get(id).map_or(LeaseVerdict::Stale, |offer| offer.verdict);
        let verdicts = request.attempts.iter().map(|item| verdict(&item.attempt_id)).collect();
        self.heartbeats.fetch_add(1, Ordering::SeqCst);
        Ok(HeartbeatReply { verdicts, lease_ms: 10_000 })
    }

    async fn xcom(&self, query: &XcomQuery) -> Result<XcomReply, ApiError> {
        self.check()?;
        let xcoms = self.xcoms.lock().expect("lock");
        let value = |task: &String| {
            let value = xcoms.get(&(task.clone(), query.key.clone()))?;
            Some((task.clone(), -1, value.clone()))
        };
        Ok(XcomReply { values: query.task_ids.iter().filter_map(value).collect() })
    }

    async fn variable(&self, query: &VariableQuery) -> Result<VariableReply, ApiError> {
        self.check()?;
        let value = self.variables.lock().expect("lock").get(&query.key).cloned();
        Ok(VariableReply { value })
    }

    async fn logs(&self, chunks: &LogChunks) -> Result<(), ApiError> {
        self.check()?;
        let mut logs = self.logs.lock().expect("lock");
        for chunk in &chunks.chunks {
            let attempt = logs.entry(chunk.attempt_id).or_default();
            attempt.entry(chunk.seq).or_insert_with(|| chunk.text.clone());
        }
        Ok(())
    }

    async fn keys(&self) -> Result<KeysReply, ApiError> {
        self.check()?;
        self.key_fetches.fetch_add(1, Ordering::SeqCst);
        Ok(KeysReply { keys: vec![STANDARD.encode(self.key.0)] })
    }
}

fn grant(task: &Arc<TaskSpec>) -> Grant {
    let date = "2026-11-20T00:00:00Z".parse().expect("time");
    Grant {
        lease_ms: 10_000,
        task: Arc::clone(task),
        fileloc: "dag.py".to_owned(),
        source_hash: String::new(),
        context: RunContext {
            run: Uuid::from_u128(99),
            dag_id: "demo".to_owned(),
            run_id: "manual__1".to_owned(),
            run_type: RunType::Manual,
            logical_date: Some(date),
            data_interval_start: Some(date),
            data_interval_end: Some(date),
            run_after: date,
            start_date: Some(date),
            conf: Map::new(),
            params: Map::new(),
            try_number: 1,
            max_tries: 3,
            map_index: -1,
            timezone: "UTC".to_owned(),
            upstream: task.upstream.clone(),
            prev_success_interval: None,
        },
    }
}
