//! The schedulers' public keys: opens workloads, and fetches keys it has not seen. Never trusts a
//! key that did not come from the execution API.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::{Instant, sleep_until};
use tradewind_proto::sign::{KeyRing, OpenError, PublicKey};
use tradewind_proto::workload::Workload;

use crate::{ApiError, ExecutionApi};

/// Least time between two fetches, so that forged messages cannot flood the API.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why a workload was not opened.
#[derive(Debug)]
pub(crate) enum KeyFault {
    /// The message is bad.
    Bad(OpenError),
    /// Nobody could be asked for the key; the message may be good.
    Unknown(ApiError),
}

#[derive(Debug)]
pub(crate) struct Keys {
    ring: Mutex<Arc<KeyRing>>,
    /// When the last fetch began and how it ended. Held while fetching, so that all who miss a key
    /// share one fetch.
    last: tokio::sync::Mutex<Option<(Instant, Result<(), ApiError>)>>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { ring: Mutex::default(), last: tokio::sync::Mutex::new(None) }
    }

    /// Opens a signed workload. An unknown key is looked up: only a fetch that began after the
    /// message arrived can say that there is no such key.
    pub(crate) async fn open(
        &self,
        api: &dyn ExecutionApi,
        bytes: &[u8],
    ) -> Result<Workload, KeyFault> {
        let arrived = Instant::now();
        match self.ring().open(bytes) {
            Err(OpenError::UnknownKey { .. }) => {}
            other => return other.map_err(KeyFault::Bad),
        }
        let mut last = self.last.lock().await;
        // The fetch that held the lock may have brought the key: no reason to wait for another.
        match self.ring().open(bytes) {
            Err(OpenError::UnknownKey { .. }) => {}
            other => return other.map_err(KeyFault::Bad),
        }
        self.fetch_after(&mut last, api, arrived).await.map_err(KeyFault::Unknown)?;
        self.ring().open(bytes).map_err(KeyFault::Bad)
    }

    async fn fetch_after(
        &self,
        last: &mut Option<(Instant, Result<(), ApiError>)>,
        api: &dyn ExecutionApi,
        since: Instant,
    ) -> Result<(), ApiError> {
        if let Some((began, result)) = last.as_ref() {
            if *began >= since {
                return result.clone();
            }
            sleep_until(*began + FETCH_INTERVAL).await;
        }
        let began = Instant::now();
        let result = self.fetch(api).await;
        *last = Some((began, result.clone()));
        result
    }

    async fn fetch(&self, api: &dyn ExecutionApi) -> Result<(), ApiError> {
        let reply = api.keys().await?;
        let mut ring = KeyRing::clone(&self.ring());
        for text in reply.keys {
            match STANDARD.decode(&text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
                Some(bytes) => ring.insert(PublicKey(bytes)),
                None => {
                    tracing::error!(key = %text, "execution API sent a key that is not 32 bytes")
                }
            }
        }
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }

    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use tradewind_proto::execution::{
        ClaimReply, ClaimRequest, HeartbeatReply, HeartbeatRequest, KeysReply, LogChunks,
        VariableQuery, VariableReply, XcomQuery, XcomReply,
    };
    use tradewind_proto::sign::SigningKey;

    use super::*;

    #[derive(Debug)]
    struct KeysOnly(PublicKey, AtomicU32);

    #[async_trait]
    impl ExecutionApi for KeysOnly {
        async fn claim(&self, _: &ClaimRequest) -> Result<ClaimReply, ApiError> {
            Err(ApiError::Unauthorized)
        }
        async fn heartbeat(&self, _: &HeartbeatRequest) -> Result<HeartbeatReply, ApiError> {
            Err(ApiError::Unauthorized)
        }
        async fn xcom(&self, _: &XcomQuery) -> Result<XcomReply, ApiError> {
            Err(ApiError::Unauthorized)
        }
        async fn variable(&self, _: &VariableQuery) -> Result<VariableReply, ApiError> {
            Err(ApiError::Unauthorized)
        }
        async fn logs(&self, _: &LogChunks) -> Result<(), ApiError> {
            Err(ApiError::Unauthorized)
        }
        async fn keys(&self) -> Result<KeysReply, ApiError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(KeysReply { keys: vec![STANDARD.encode(self.0.0)] })
        }
    }

    fn sealed(key: &SigningKey) -> Vec<u8> {
        let workload = Workload {
            attempt: 1,
            token: 1,
            dag_id: "d".into(),
            run_id: "r".into(),
            task_id: "t".into(),
            map_index: -1,
            try_number: 1,
            queue: "default".into(),
            reply_to: String::new(),
            trace_parent: String::new(),
            queued_at: 0,
        };
        key.seal(&workload).expect("small")
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_with_one_new_key_wait_for_one_fetch() {
        let key = SigningKey::from_seed(&[3; 32]).expect("seed");
        let (api, keys, bytes) =
            (KeysOnly(key.public(), AtomicU32::new(0)), Keys::new(), sealed(&key));
        let begun = Instant::now();
        let all = futures::future::join_all((0..8).map(|n| {
            let (api, keys, bytes) = (&api, &keys, &bytes);
            async move {
                tokio::time::sleep(Duration::from_millis(n)).await;
                keys.open(api, bytes).await
            }
        }));
        assert!(all.await.iter().all(Result::is_ok));
        assert_eq!(api.1.load(Ordering::Relaxed), 1, "one fetch serves all");
        assert!(begun.elapsed() < Duration::from_millis(100), "took {:?}", begun.elapsed());
    }
}
