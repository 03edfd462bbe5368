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
        self.fetch_after(api, arrived).await.map_err(KeyFault::Unknown)?;
        self.ring().open(bytes).map_err(KeyFault::Bad)
    }

    async fn fetch_after(&self, api: &dyn ExecutionApi, since: Instant) -> Result<(), ApiError> {
        let mut last = self.last.lock().await;
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
