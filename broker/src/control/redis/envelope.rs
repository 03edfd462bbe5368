//! kombu's JSON envelope around a control message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use uuid::Uuid;

use super::super::wire::{CONTENT_ENCODING, CONTENT_TYPE, Parcel, TRANSIENT};

/// The text that is published or appended.
pub(super) fn encode(exchange: &str, parcel: &Parcel) -> Vec<u8> {
    let envelope = json!({
        "body": STANDARD.encode(&parcel.body),
        "content-encoding": CONTENT_ENCODING,
        "content-type": CONTENT_TYPE,
        "headers": parcel.headers,
        "properties": {
            "delivery_mode": TRANSIENT,
            "delivery_info": {"exchange": exchange, "routing_key": parcel.routing_key},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": Uuid::new_v4().hyphenated().to_string(),
        },
    });
    envelope.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tradewind_proto::headers::Headers;

    use super::*;
    use crate::redis::envelope::decode;

    #[test]
    fn what_is_written_is_read() {
        let parcel = Parcel {
            routing_key: "worker.online".to_owned(),
            headers: Headers::from_iter([("hostname", json!("celery@a"))]),
            body: br#"{"type": "worker-online"}"#.to_vec(),
        };
        let text = encode("celeryev", &parcel);
        let (message, redelivered) = decode(&text).expect("an envelope");
        assert_eq!((message.headers, message.body), (parcel.headers, parcel.body));
        assert!(!redelivered && message.content_type == CONTENT_TYPE);
        let value: Value = serde_json::from_slice(&text).expect("json");
        let info = json!({"exchange": "celeryev", "routing_key": "worker.online"});
        assert_eq!(value["properties"]["delivery_info"], info);
    }
}
