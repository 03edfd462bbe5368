//! The signature header: `v1 <key> <HMAC-SHA256> <JSON>`.
//!
//! The JSON text is `[headers, content_type, content_encoding, correlation_id, reply_to]` as the sender
//! had them, and the reader takes them from there. So nothing needs a canonical form that every broker's
//! encoding of numbers and tables would have to keep, and a header that was added on the way is never
//! seen by a worker.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use super::keys::is_name;
use super::{Refused, SealError, SecretKeys};
use crate::headers::Headers;
use crate::message::TaskMessage;
use crate::names::{HEADER_SENT_AT, HEADER_SIGNATURE};

const VERSION: &str = "v1";
/// Keeps these MACs apart from any other use of the same key.
const CONTEXT: &[u8] = b"tradewind task message signature v1\0";
/// Two numbers of which one has passed another encoding differ by less.
const ROUNDING: f64 = 1e-12;

type Signed = (Headers, String, String, String, Option<String>);

pub(super) fn is_signed(message: &TaskMessage) -> bool {
    message.headers.contains_key(HEADER_SIGNATURE)
}

pub(super) fn sign(message: &mut TaskMessage, keys: &SecretKeys) -> Result<(), SealError> {
    message.headers.remove(HEADER_SIGNATURE);
    // The broker's drivers set it when it is missing; it only feeds metrics.
    let sent_at = message.headers.remove(HEADER_SENT_AT);
    let signed = (
        &message.headers,
        &message.content_type,
        &message.content_encoding,
        &message.correlation_id,
        &message.reply_to,
    );
    let text = serde_json::to_string(&signed).map_err(|error| SealError(error.to_string()))?;
    let (name, secret) = keys.first();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut mac = hmac::Context::with_key(&key);
    feed(name, &text, &message.body, |part| mac.update(part));
    let tag = URL_SAFE_NO_PAD.encode(mac.sign());
    message.set_header(HEADER_SIGNATURE, format!("{VERSION} {name} {tag} {text}"));
    if let Some(sent_at) = sent_at {
        message.set_header(HEADER_SENT_AT, sent_at);
    }
    Ok(())
}

/// Replaces what the message says by what was signed. What contradicts it was altered on the way, and is
/// refused although it would not be heeded.
pub(super) fn verify(message: &mut TaskMessage, keys: &SecretKeys) -> Result<(), Refused> {
    let token = match message.headers.remove(HEADER_SIGNATURE) {
        Some(Value::String(token)) => token,
        _ => return Err(Refused::signature("the signature is no text")),
    };
    let mut parts = token.splitn(4, ' ');
    let (version, name, tag, text) = match (parts.next(), parts.next(), parts.next(), parts.next())
    {
        (Some(version), Some(name), Some(tag), Some(text)) => (version, name, tag, text),
        _ => return Err(Refused::signature("the signature has not four parts")),
    };
    if version != VERSION || !is_name(name) {
        return Err(Refused::signature("the signature has a form that this version does not know"));
    }
    let secret = keys.find(name).ok_or_else(|| {
        Refused::signature(format!("key {name:?} is not in [security] signing_keys of this worker"))
    })?;
    let wrong = || Refused::signature(format!("the signature by key {name:?} does not match"));
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| wrong())?;
    let mut all =
        Vec::with_capacity(CONTEXT.len() + name.len() + text.len() + message.body.len() + 16);
    feed(name, text, &message.body, |part| all.extend_from_slice(part));
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &all, &tag).map_err(|_| wrong())?;
    let signed: Signed = serde_json::from_str(text).map_err(|_| wrong())?;
    if let Some(what) = contradiction(message, &signed) {
        return Err(Refused::signature(format!("{what} was altered after signing")));
    }
    let sent_at = message.headers.remove(HEADER_SENT_AT);
    let (headers, content_type, content_encoding, correlation_id, reply_to) = signed;
    message.headers = headers;
    message.content_type = content_type;
    message.content_encoding = content_encoding;
    message.correlation_id = correlation_id;
    message.reply_to = reply_to;
    if let Some(sent_at) = sent_at {
        message.set_header(HEADER_SENT_AT, sent_at);
    }
    Ok(())
}

/// All that is signed, each part delimited.
fn feed(name: &str, text: &str, body: &[u8], mut update: impl FnMut(&[u8])) {
    update(CONTEXT);
    update(name.as_bytes());
    update(b"\0");
    update(&(text.len() as u64).to_le_bytes());
    update(text.as_bytes());
    update(body);
}

/// The first thing of a message that is not as it was signed.
fn contradiction(message: &TaskMessage, signed: &Signed) -> Option<String> {
    let (headers, content_type, content_encoding, correlation_id, reply_to) = signed;
    let header = |(name, value): (&str, &Value)| {
        let now = message.headers.get(name).unwrap_or(&Value::Null);
        (!same(value, now)).then(|| format!("header {name:?}"))
    };
    let properties = [
        ("content_type", *content_type == message.content_type),
        ("content_encoding", *content_encoding == message.content_encoding),
        ("correlation_id", *correlation_id == message.correlation_id),
        (
            "reply_to",
            reply_to.as_deref().unwrap_or("") == message.reply_to.as_deref().unwrap_or(""),
        ),
    ];
    let property = properties.iter().find(|(_, same)| !same);
    headers.iter().find_map(header).or_else(|| Some(format!("property {}", property?.0)))
}

/// Whether two values are the same but for how brokers encode numbers and order tables.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= ROUNDING * a.abs().max(b.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has = |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(has)
        }
        _ => a == b,
    }
}
