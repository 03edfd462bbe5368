//! What became of a task or a group that was sent: Celery's `AsyncResult` and `GroupResult`.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tradewind_proto::celery::{ExceptionInfo, Meta, ResultTuple, state, wide};

use super::{Client, ClientError};

/// Between two looks at what comes before a task: when that has failed, the task will never run.
const LOOK_BACK: Duration = Duration::from_millis(500);

/// Names a task, or a group, and follows it.
#[derive(Debug, Clone)]
pub struct TaskHandle {
    client: Client,
    result: ResultTuple,
}

impl TaskHandle {
    pub(super) fn new(client: Client, result: ResultTuple) -> Self {
        Self { client, result }
    }

    /// Task id, or group id.
    pub fn id(&self) -> &str {
        &self.result.id
    }

    /// The ids of this result, its members and what came before it, to be kept and waited for later.
    pub fn tuple(&self) -> &ResultTuple {
        &self.result
    }

    /// Whether it is a group.
    pub fn is_group(&self) -> bool {
        self.result.results.is_some()
    }

    /// The members of a group; none for a task.
    pub fn members(&self) -> Vec<Self> {
        let members = self.result.results.iter().flatten();
        members.map(|member| Self::new(self.client.clone(), member.clone())).collect()
    }

    /// What came before it: in a chain, or the header of its chord.
    pub fn parent(&self) -> Option<Self> {
        let parent = self.result.parent.as_ref()?;
        Some(Self::new(self.client.clone(), (**parent).clone()))
    }

    /// What is stored of it now, if anything. Not for groups, whose members have it.
    ///
    /// # Errors
    /// When the backend cannot be read.
    pub async fn meta(&self) -> Result<Option<Meta>, ClientError> {
        let stored = self.client.results().get(self.id()).await?;
        stored.map(|stored| self.read(&stored.meta)).transpose()
    }

    fn read(&self, meta: &[u8]) -> Result<Meta, ClientError> {
        Meta::from_bytes(meta)
            .map_err(|reason| ClientError::Unreadable { id: self.id().to_owned(), reason })
    }

    /// Its state; `PENDING` when nothing is known. A group has ended well when all members have, and
    /// badly when one has.
    ///
    /// # Errors
    /// When the backend cannot be read.
    pub async fn state(&self) -> Result<String, ClientError> {
        if !self.is_group() {
            let stored = self.client.results().get(self.id()).await?;
            return Ok(stored.map_or_else(|| state::PENDING.to_owned(), |stored| stored.state));
        }
        let mut all = state::SUCCESS.to_owned();
        for member in self.members() {
            let one = Box::pin(member.state()).await?;
            match one.as_str() {
                state::SUCCESS => {}
                state::FAILURE | state::REVOKED => return Ok(one),
                _ => all = state::PENDING.to_owned(),
            }
        }
        Ok(all)
    }

    /// Waits for its end. Of a group: until all have ended well, or the first has not; the result is
    /// then the list of all. When something before it has failed, that is the answer.
    ///
    /// # Errors
    /// [`ClientError::Timeout`]; or the backend's.
    pub async fn wait(&self, limit: Duration) -> Result<Meta, ClientError> {
        let deadline = Instant::now() + limit;
        if self.is_group() {
            let mut all = Vec::new();
            for member in self.members() {
                let left = deadline.saturating_duration_since(Instant::now());
                let ended = Box::pin(member.wait(left)).await.map_err(|error| match error {
                    ClientError::Timeout { id, .. } => ClientError::Timeout { id, limit },
                    other => other,
                })?;
                if ended.status != state::SUCCESS {
                    return Ok(ended);
                }
                all.push(ended.result);
            }
            return Ok(Meta::new(self.id(), state::SUCCESS, Value::Array(all)));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let slice = if self.result.parent.is_some() { left.min(LOOK_BACK) } else { left };
            if let Some(stored) = self.client.results().wait(self.id(), slice).await? {
                return self.read(&stored.meta);
            }
            if let Some(failed) = self.failed_before().await? {
                return Ok(failed);
            }
            if Instant::now() >= deadline {
                return Err(ClientError::Timeout { id: self.id().to_owned(), limit });
            }
        }
    }

    /// The end of something that this one waits for and that did not go well.
    async fn failed_before(&self) -> Result<Option<Meta>, ClientError> {
        let mut before = self.parent();
        while let Some(handle) = before {
            let ones = if handle.is_group() { handle.members() } else { vec![handle.clone()] };
            for one in ones.into_iter().filter(|one| !one.is_group()) {
                let ended = one
                    .meta()
                    .await?
                    .filter(|meta| matches!(meta.status.as_str(), state::FAILURE | state::REVOKED));
                if ended.is_some() {
                    return Ok(ended);
                }
            }
            before = handle.parent();
        }
        Ok(None)
    }

    /// Waits for its end and gives what it returned.
    ///
    /// # Errors
    /// [`ClientError::Failed`] and [`ClientError::Revoked`] when it did not end well;
    /// [`ClientError::Unreadable`] when it returned something else.
    pub async fn result<T: DeserializeOwned>(&self, limit: Duration) -> Result<T, ClientError> {
        let meta = self.wait(limit).await?;
        let id = if meta.task_id.is_empty() { self.id().to_owned() } else { meta.task_id.clone() };
        match meta.status.as_str() {
            state::SUCCESS => wide::from_value(&meta.result)
                .map_err(|error| ClientError::Unreadable { id, reason: error.to_string() }),
            state::REVOKED => {
                let exception = meta.exception().unwrap_or_default();
                let why = exception.exc_message.first().and_then(Value::as_str);
                Err(ClientError::Revoked { id, why: why.unwrap_or("revoked").to_owned() })
            }
            _ => {
                let exception = meta.exception().unwrap_or_else(|| {
                    ExceptionInfo::new("builtins", "Exception", &meta.result.to_string())
                });
                Err(ClientError::Failed { id, exception, traceback: meta.traceback })
            }
        }
    }

    /// Waits for all members of a group and gives what they returned, in their order.
    ///
    /// # Errors
    /// As [`TaskHandle::result`], for the first member that did not end well.
    pub async fn join<T: DeserializeOwned>(&self, limit: Duration) -> Result<Vec<T>, ClientError> {
        self.result(limit).await
    }

    /// What it sent when it ended, as far as it is stored.
    ///
    /// # Errors
    /// When the backend cannot be read.
    pub async fn children(&self) -> Result<Vec<Self>, ClientError> {
        let children = self.meta().await?.and_then(|meta| meta.children).unwrap_or_default();
        let tuples = children.iter().filter_map(ResultTuple::from_value);
        Ok(tuples.map(|tuple| Self::new(self.client.clone(), tuple)).collect())
    }

    /// Revokes it, or all members: no worker starts it any more. With `terminate` it is killed if it
    /// runs.
    ///
    /// # Errors
    /// When the fleet could not be told.
    pub async fn revoke(&self, terminate: bool) -> Result<(), ClientError> {
        self.client.revoke(&self.ids(), terminate).await
    }

    /// Drops what is stored of it, or of all members.
    ///
    /// # Errors
    /// When the backend did not answer.
    pub async fn forget(&self) -> Result<(), ClientError> {
        for id in self.ids() {
            self.client.results().forget(&id).await?;
        }
        Ok(())
    }

    /// The ids of the tasks behind this result.
    fn ids(&self) -> Vec<String> {
        fn add(result: &ResultTuple, ids: &mut Vec<String>) {
            match &result.results {
                None => ids.push(result.id.clone()),
                Some(members) => members.iter().for_each(|member| add(member, ids)),
            }
        }
        let mut ids = Vec::new();
        add(&self.result, &mut ids);
        ids
    }
}
