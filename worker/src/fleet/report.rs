//! Results as Celery's clients read them. Pure.

use serde::Serialize;
use serde_json::Value;
use tradewind_broker::StoredResult;
use tradewind_proto::Timestamp;
use tradewind_proto::celery::{Request, wide, wire_time};

/// Replacements within replacements that are told apart.
const NESTING_MAX: i64 = (1 << 20) - 1;

/// Which of two results of one task is the later one: a retry and a replacement run under the same id.
pub(crate) fn token(request: &Request) -> i64 {
    let nesting = request.headers.get("replaced_task_nesting").and_then(Value::as_u64).unwrap_or(0);
    // Stores keep tokens exactly up to 2^53.
    let nesting = i64::try_from(nesting).unwrap_or(NESTING_MAX).min(NESTING_MAX);
    (nesting << 32) | i64::from(request.retries)
}

/// The result of a task in a state that is not its end.
pub(crate) fn running(request: &Request, state: &str, result: &Value) -> StoredResult {
    stored(request, state, &wide::to_json(result), None, &[], None)
}

/// The result of a task; `result` is JSON text.
pub(crate) fn stored(
    request: &Request,
    state: &str,
    result: &str,
    traceback: Option<&str>,
    children: &[Value],
    done: Option<Timestamp>,
) -> StoredResult {
    // `status` first: readers find it without parsing the rest.
    let mut meta = Meta(Vec::with_capacity(META_BYTES_USUAL + result.len()));
    meta.text("{\"status\": ").json(state).text(", \"result\": ").text(result);
    meta.text(", \"traceback\": ").json(&traceback);
    meta.text(", \"children\": ").json(children);
    meta.text(", \"date_done\": ").json(&done.map(wire_time));
    for (name, value) in [("group_id", &request.group), ("parent_id", &request.parent_id)] {
        if let Some(value) = value {
            meta.text(", \"").text(name).text("\": ").json(value);
        }
    }
    meta.text(", \"task_id\": ").json(&request.id).text("}");
    let Meta(meta) = meta;
    StoredResult {
        task_id: request.id.clone(),
        token: token(request),
        state: state.to_owned(),
        meta,
        reply_to: request.reply_to.clone(),
    }
}

/// Bytes of a meta whose result is small.
const META_BYTES_USUAL: usize = 256;

/// A meta as it is written.
struct Meta(Vec<u8>);

impl Meta {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        // Texts and values always serialize, and a vector takes all.
        let _always = serde_json::to_writer(&mut self.0, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tradewind_proto::celery::{Request, state};
    use tradewind_proto::clock::from_micros;

    use super::stored;

    #[test]
    fn the_meta_has_celerys_members() {
        let request = Request {
            id: "a".to_owned(),
            parent_id: Some("p".to_owned()),
            retries: 2,
            ..Request::default()
        };
        let child = json!([["c", null], null]);
        let at = Some(from_micros(1_700_000_000_120_000));
        let one = stored(&request, state::SUCCESS, "\"x\"", None, &[child], at);
        let meta: Value = serde_json::from_slice(&one.meta).expect("json");
        let expected = json!({
            "status": "SUCCESS", "result": "x", "traceback": null, "children": [[["c", null], null]],
            "date_done": "2023-11-14T22:13:20.120000+00:00", "parent_id": "p", "task_id": "a",
        });
        assert_eq!((meta, one.token), (expected, 2));
    }
}
