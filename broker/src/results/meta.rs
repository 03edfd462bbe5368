//! Celery's meta object as bytes: its state, and our fencing token as one more member.
//!
//! The token goes in front of the object's own members, so that reading it back restores the bytes
//! as they were put; Celery's clients read members by name and do not see it. Never looks at
//! `result`.

use serde::Deserialize;

/// The member that carries the fencing token. Celery ignores members it does not know.
const TOKEN_OPEN: &str = "{\"tradewind_token\":";
/// How Celery starts a meta object; saves parsing the rest, and tolerates Python's bare `NaN` in it.
const CELERY_OPEN: &[u8] = b"{\"status\": \"";

#[derive(Deserialize)]
struct Status {
    status: String,
}

/// The state named in a meta object.
pub(super) fn status_of(meta: &[u8]) -> Result<String, String> {
    if let Some(rest) = meta.strip_prefix(CELERY_OPEN) {
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        if let Some(end) = end.filter(|end| rest[*end] == b'"') {
            return Ok(String::from_utf8_lossy(&rest[..end]).into_owned());
        }
    }
    serde_json::from_slice::<Status>(meta)
        .map(|found| found.status)
        .map_err(|e| format!("the meta is not a JSON object with a \"status\": {e}"))
}

/// The meta with its token. `Err` when it is no JSON object.
pub(super) fn with_token(meta: &[u8], token: i64) -> Result<Vec<u8>, String> {
    let inner =
        meta.trim_ascii_start().strip_prefix(b"{").ok_or("the meta is not a JSON object")?;
    let mut out = format!("{TOKEN_OPEN}{token}").into_bytes();
    if !inner.trim_ascii_start().starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(inner);
    Ok(out)
}

/// The inverse of [`with_token`]; a meta of another writer has token 0.
pub(super) fn split_token(stored: &[u8]) -> (i64, Vec<u8>) {
    let foreign = || (0, stored.to_vec());
    let Some(rest) = stored.strip_prefix(TOKEN_OPEN.as_bytes()) else {
        return foreign();
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    let token = std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse().ok());
    let Some(token) = token else {
        return foreign();
    };
    let inner = &rest[digits..];
    let inner = inner.strip_prefix(b",").unwrap_or(inner);
    let mut meta = Vec::with_capacity(inner.len() + 1);
    meta.push(b'{');
    meta.extend_from_slice(inner);
    (token, meta)
}

#[cfg(test)]
mod tests {
    use super::{split_token, status_of, with_token};

    /// As a Celery 5 worker writes it to Redis.
    const CELERY: &str = r#"{"status": "SUCCESS", "result": 4, "traceback": null, "children": [], "date_done": "2026-11-20T10:11:12.131415+00:00", "task_id": "3b2a7d52-7c11-4f0d-9a3e-6f6f0a5d7b10"}"#;
    const FAILED: &str = r#"{"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["bad \"quote\""], "exc_module": "builtins"}, "traceback": "Traceback (most recent call last):\n", "children": [], "date_done": "2026-11-20T10:11:12.131415+00:00", "task_id": "b"}"#;

    #[test]
    fn reads_what_celery_wrote() {
        assert_eq!(status_of(CELERY.as_bytes()), Ok("SUCCESS".to_owned()));
        assert_eq!(status_of(FAILED.as_bytes()), Ok("FAILURE".to_owned()));
        assert_eq!(split_token(CELERY.as_bytes()), (0, CELERY.as_bytes().to_vec()));
    }

    #[test]
    fn reads_a_bare_nan_and_any_order_of_members() {
        let nan = br#"{"status": "SUCCESS", "result": NaN}"#;
        assert_eq!(status_of(nan), Ok("SUCCESS".to_owned()));
        let reordered = br#"{"task_id":"x","result":{"status":"no"},"status":"REVOKED"}"#;
        assert_eq!(status_of(reordered), Ok("REVOKED".to_owned()));
    }

    #[test]
    fn the_token_is_one_more_member_and_comes_off_without_a_trace() {
        for (meta, token) in [(CELERY, 7), (FAILED, -3), ("{}", i64::MAX)] {
            let stored = with_token(meta.as_bytes(), token).expect("valid");
            let parsed: serde_json::Value = serde_json::from_slice(&stored).expect("valid");
            let mut expected: serde_json::Value = serde_json::from_str(meta).expect("valid");
            expected["tradewind_token"] = token.into();
            assert_eq!(parsed, expected);
            assert_eq!(split_token(&stored), (token, meta.as_bytes().to_vec()));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(with_token(b"[1]", 1).is_err());
        assert!(status_of(b"{}").is_err());
        assert!(status_of(b"\x00celery-compressed").is_err());
    }
}
