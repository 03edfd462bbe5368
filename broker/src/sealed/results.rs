//! Results behind the encryption key: what a task returned or raised is hidden in its backend; state,
//! children and times are not.
//!
//! A meta object keeps its members; `result` becomes `{"tradewind_encrypted": TEXT}`, bound to the task's
//! id, and the traceback goes in there too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tradewind_proto::celery::wide;
use tradewind_proto::seal::{SecretKeys, decrypt_text, encrypt_text};

use crate::{Error, Inbox, Join, JoinPart, Put, ResultBackend, StoredResult};

/// The one member of an encrypted value.
const MEMBER: &str = "tradewind_encrypted";

/// A result backend behind keys. [`crate::open_results`] makes it when its options have keys.
#[derive(Debug)]
pub(crate) struct SealedResults {
    inner: Arc<dyn ResultBackend>,
    keys: SecretKeys,
}

impl SealedResults {
    pub(crate) fn new(inner: Arc<dyn ResultBackend>, keys: SecretKeys) -> Self {
        Self { inner, keys }
    }

    fn hide(&self, id: &str, value: &Value) -> Result<Value, Error> {
        let text = encrypt_text(&self.keys, id, &wide::to_json(value));
        let text = text.map_err(|error| Error::Config(error.to_string()))?;
        Ok(json!({ MEMBER: text }))
    }

    /// The value behind an encrypted one; any other is as it was stored.
    fn show(&self, id: &str, value: Value) -> Result<Value, Error> {
        let Some(text) = hidden(&value) else { return Ok(value) };
        let refuse = |reason: String| Error::Refused {
            service: "[security] encryption_keys",
            what: format!("reading the result of task {id:?}"),
            reason,
        };
        let text = decrypt_text(&self.keys, id, text).map_err(|why| refuse(why.reason("it")))?;
        wide::from_slice(text.as_bytes()).map_err(|error| refuse(error.to_string()))
    }

    fn hide_meta(&self, mut stored: StoredResult) -> Result<StoredResult, Error> {
        let mut meta = read(&stored.meta)?;
        let mut take = |name| meta.insert(name, Value::Null).unwrap_or_default();
        let both = json!([take("result".to_owned()), take("traceback".to_owned())]);
        meta.insert("result".to_owned(), self.hide(&stored.task_id, &both)?);
        stored.meta = write(&meta);
        Ok(stored)
    }

    fn show_meta(&self, mut stored: StoredResult) -> Result<StoredResult, Error> {
        let mut meta = read(&stored.meta)?;
        let Some(found) = meta.get("result").filter(|result| hidden(result).is_some()) else {
            return Ok(stored);
        };
        let shown = self.show(&stored.task_id, found.clone())?;
        let [result, traceback] = serde_json::from_value(shown).unwrap_or_default();
        meta.insert("result".to_owned(), result);
        meta.insert("traceback".to_owned(), traceback);
        stored.meta = write(&meta);
        Ok(stored)
    }
}

fn hidden(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get(MEMBER)?.as_str()
}

fn read(meta: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(&wide::stand_in(meta))
        .map_err(|error| Error::Config(format!("a result is no JSON object: {error}")))
}

fn write(meta: &Map<String, Value>) -> Vec<u8> {
    wide::to_vec(meta).unwrap_or_default()
}

#[async_trait]
impl ResultBackend for SealedResults {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn reply_to(&self) -> Option<&str> {
        self.inner.reply_to()
    }

    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        self.inner.put(self.hide_meta(result)?, ttl).await
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        self.inner.get(task_id).await?.map(|stored| self.show_meta(stored)).transpose()
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        self.inner.wait(task_id, limit).await?.map(|stored| self.show_meta(stored)).transpose()
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        self.inner.forget(task_id).await
    }

    async fn begin_join(&self, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
        self.inner.begin_join(group, size, ttl).await
    }

    async fn extend_join(&self, group: &str, task_id: &str, ttl: Duration) -> Result<(), Error> {
        self.inner.extend_join(group, task_id, ttl).await
    }

    async fn join(&self, mut part: JoinPart, ttl: Duration) -> Result<Join, Error> {
        part.result = self.hide(&part.task_id, &part.result)?;
        Ok(match self.inner.join(part, ttl).await? {
            Join::Complete { claim, parts } => {
                let show = |mut part: JoinPart| {
                    part.result = self.show(&part.task_id, part.result)?;
                    Ok(part)
                };
                let parts: Result<_, Error> = parts.into_iter().map(show).collect();
                Join::Complete { claim, parts: parts? }
            }
            other => other,
        })
    }

    async fn finish_join(&self, group: &str, claim: &str) -> Result<(), Error> {
        self.inner.finish_join(group, claim).await
    }

    fn no_joins(&self) -> Error {
        self.inner.no_joins()
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        self.inner.send(inbox, bodies).await
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        self.inner.open_inbox(inbox).await
    }

    async fn sweep(&self) -> Result<u64, Error> {
        self.inner.sweep().await
    }

    async fn health(&self) -> Result<(), Error> {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryResults;

    const TTL: Duration = Duration::from_secs(60);

    fn keys(seed: u8) -> SecretKeys {
        let secret = format!("{seed:02x}{}", "0123456789abcdef".repeat(4));
        SecretKeys::parse(&format!("a {}", &secret[..64])).expect("keys")
    }

    fn failed() -> StoredResult {
        let meta = json!({"status": "FAILURE", "result": {"exc_message": ["card 4711"]},
            "traceback": "line 4711", "children": [["c", null]], "task_id": "t"});
        StoredResult {
            task_id: "t".to_owned(),
            token: 0,
            state: "FAILURE".to_owned(),
            meta: meta.to_string().into_bytes(),
            reply_to: None,
        }
    }

    #[tokio::test]
    async fn what_a_task_said_is_hidden_and_read_back() {
        let plain: Arc<dyn ResultBackend> = Arc::new(MemoryResults::new());
        let sealed = SealedResults::new(Arc::clone(&plain), keys(1));
        sealed.put(failed(), TTL).await.expect("put");
        let stored = plain.get("t").await.expect("get").expect("stored");
        let text = String::from_utf8(stored.meta).expect("text");
        assert!(!text.contains("4711") && text.contains("FAILURE"), "{text}");
        let read: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["children"], json!([["c", null]]));
        let shown = sealed.get("t").await.expect("get").expect("stored");
        let as_value = |meta: &[u8]| serde_json::from_slice::<Value>(meta).expect("JSON");
        assert_eq!(as_value(&shown.meta), as_value(&failed().meta));
        let thief = SealedResults::new(Arc::clone(&plain), keys(2));
        let error = thief.get("t").await.expect_err("another secret").to_string();
        assert!(error.contains("\"t\"") && error.contains("does not decrypt"), "{error}");
        // From before encryption was turned on.
        plain.forget("t").await.expect("forgotten");
        plain.put(failed(), TTL).await.expect("put");
        assert_eq!(sealed.get("t").await.expect("get").expect("stored").meta, failed().meta);
    }

    #[tokio::test]
    async fn parts_of_a_chord_are_hidden_from_the_backend_alone() {
        let plain: Arc<dyn ResultBackend> = Arc::new(MemoryResults::new());
        let sealed = SealedResults::new(Arc::clone(&plain), keys(1));
        plain.begin_join("g", 2, TTL).await.expect("begun");
        let part = |index: i64| JoinPart {
            group: "g".to_owned(),
            task_id: format!("t{index}"),
            index,
            state: "SUCCESS".to_owned(),
            result: json!({"card": 4711}),
        };
        assert_eq!(sealed.join(part(0), TTL).await, Ok(Join::Waiting));
        let Ok(Join::Complete { claim, parts }) = sealed.join(part(1), TTL).await else {
            panic!("both are there")
        };
        assert_eq!(parts, [part(0), part(1)]);
        sealed.finish_join("g", &claim).await.expect("finished");
        plain.begin_join("h", 1, TTL).await.expect("begun");
        let hidden = JoinPart { group: "h".to_owned(), ..part(0) };
        let hidden =
            JoinPart { result: sealed.hide("t0", &hidden.result).expect("hidden"), ..hidden };
        let Ok(Join::Complete { parts, .. }) = plain.join(hidden, TTL).await else {
            panic!("it is alone")
        };
        assert!(!format!("{parts:?}").contains("4711"), "{parts:?}");
    }
}
