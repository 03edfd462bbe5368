//! The body of a message as a value, by content type.

use serde_json::Value;

use crate::message::TaskMessage;
use crate::{names, seal};

use super::{BadMessage, inflate, msgpack, text};

pub(super) fn parse(message: &TaskMessage) -> Result<Value, BadMessage> {
    let content_type = message.content_type.split(';').next().unwrap_or_default().trim();
    let reader = match content_type.to_ascii_lowercase().as_str() {
        "application/json" | "" => {
            check_encoding(&message.content_encoding)?;
            text::parse as fn(&[u8]) -> Result<Value, BadMessage>
        }
        "application/x-msgpack" | "application/msgpack" => msgpack::parse,
        "application/x-python-serialize" => {
            return Err(refused(content_type, "pickle can run code and is never read"));
        }
        "application/x-yaml" | "application/yaml" | "text/yaml" | "text/x-yaml" => {
            return Err(refused(content_type, "YAML is not read here"));
        }
        "application/data" => {
            return Err(refused(content_type, "raw and signed (auth) bodies are not read here"));
        }
        names::CONTENT_TYPE_ENCRYPTED => {
            return Err(BadMessage::new(
                seal::KIND_ENCRYPTION,
                "the body is encrypted, and this worker has no key; set [security] encryption_keys",
            ));
        }
        _ => return Err(refused(content_type, "it is not known here")),
    };
    reader(&inflate::inflate(&message.body, message.header_str("compression"))?)
}

fn refused(content_type: &str, why: &str) -> BadMessage {
    BadMessage::new(
        "content-type",
        format!(
            "the body is {content_type:?}: {why}; let the client use task_serializer = 'json' or 'msgpack'"
        ),
    )
}

/// JSON is UTF-8, or ASCII, which is a part of it; `binary` is what some clients call it.
fn check_encoding(encoding: &str) -> Result<(), BadMessage> {
    match encoding.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" | "binary" | "" => Ok(()),
        _ => Err(BadMessage::new(
            "content-encoding",
            format!("the JSON body is encoded as {encoding:?}; use utf-8"),
        )),
    }
}
