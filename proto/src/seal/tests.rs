//! What a signature and a cipher must not let pass.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ENCRYPTED, KIND_ENCRYPTION, KIND_SIGNATURE, Seal, SecretKeys};
use crate::message::TaskMessage;
use crate::names::{self, HEADER_SENT_AT, HEADER_SIGNATURE};

fn keys(list: &[(&str, u8)]) -> Option<SecretKeys> {
    let line = |(name, seed): &(&str, u8)| {
        format!("{name} {seed:02x}{}\n", "0123456789abcde".repeat(4) + "ff")
    };
    Some(SecretKeys::parse(&list.iter().map(line).collect::<String>()).expect("keys"))
}

fn signed_by(list: &[(&str, u8)]) -> Seal {
    Seal { signing: keys(list), require_signature: true, ..Seal::default() }
}

fn encrypted_by(list: &[(&str, u8)]) -> Seal {
    Seal { encryption: keys(list), require_encryption: true, ..Seal::default() }
}

fn message() -> TaskMessage {
    let (args, kwargs) = (json!(["card 4711", 2]), json!({"name": "Grüße"}));
    let mut message = TaskMessage::json("pay.charge", Uuid::from_u128(5), &args, &kwargs);
    message.set_header("timelimit", json!([0.1, null]));
    message.set_header("expires", "2026-11-30T12:00:00.000000+00:00");
    message.set_header("x-tenant", json!({"id": 7, "tags": ["a", {}]}));
    message.reply_to = Some("replies".to_owned());
    message
}

#[test]
fn what_was_signed_comes_back_as_it_was() {
    let seal = signed_by(&[("a", 1)]);
    let mut sent = seal.close(message()).expect("signed");
    assert_eq!(sent.body, message().body, "a signature hides nothing");
    // What brokers do: other order, numbers through doubles, headers of their own.
    sent.set_header("timelimit", json!([0.1 + 1e-17, null]));
    sent.set_header("x-tenant", json!({"tags": ["a", {}], "id": 7.0}));
    sent.set_header("x-shovelled", true);
    sent.set_header(HEADER_SENT_AT, "2026-11-30T11:00:00Z");
    sent.priority = 9;
    let mut opened = seal.open(sent).expect("opens");
    assert_eq!(opened.headers.remove(HEADER_SENT_AT), Some(json!("2026-11-30T11:00:00Z")));
    assert_eq!(opened, TaskMessage { priority: 9, ..message() });
}

#[test]
fn each_altered_part_is_refused_and_named() {
    let seal = signed_by(&[("a", 1)]);
    let sealed = seal.close(message()).expect("signed");
    let refused = |what: &str, expected: &str, change: &dyn Fn(&mut TaskMessage)| {
        let mut altered = sealed.clone();
        change(&mut altered);
        let refused = seal.open(altered).expect_err(what);
        assert_eq!(refused.kind, KIND_SIGNATURE, "{what}");
        assert!(refused.reason.contains(expected), "{what}: {}", refused.reason);
    };
    for (name, value) in message().headers.iter() {
        let named = format!("header {name:?} was altered");
        refused(name, &named, &|m| m.set_header(name.to_owned(), "2027-01-01T00:00:00+00:00"));
        if !value.is_null() {
            refused(name, &named, &|m| drop(m.headers.remove(name)));
        }
    }
    refused("type", "content_type was altered", &|m| m.content_type = "text/plain".to_owned());
    refused("encoding", "content_encoding", &|m| m.content_encoding = "binary".to_owned());
    refused("correlation", "correlation_id", &|m| m.correlation_id.push('x'));
    refused("reply", "reply_to", &|m| m.reply_to = Some("mine".to_owned()));
    for place in 0..sealed.body.len() {
        refused("body", "key \"a\" does not match", &|m| m.body[place] ^= 1);
    }
    refused("longer", "does not match", &|m| m.body.push(b' '));
    refused("unsigned", "is not signed", &|m| drop(m.headers.remove(HEADER_SIGNATURE)));
    refused("no text", "is no text", &|m| m.set_header(HEADER_SIGNATURE, 1));
    refused("parts", "four parts", &|m| m.set_header(HEADER_SIGNATURE, "v1 a b"));
    refused("version", "does not know", &|m| m.set_header(HEADER_SIGNATURE, "v2 a b []"));
    let token = sealed.header_str(HEADER_SIGNATURE).expect("a token").to_owned();
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] ^= 1;
        if let Ok(other) = String::from_utf8(bytes) {
            refused("token", KIND_SIGNATURE, &|m| m.set_header(HEADER_SIGNATURE, other.as_str()));
        }
    }
}

#[test]
fn a_token_of_another_message_does_not_fit() {
    let seal = signed_by(&[("a", 1)]);
    let one = seal.close(message()).expect("signed");
    let other = TaskMessage::json("pay.charge", Uuid::from_u128(6), &json!([1]), &json!({}));
    let mut other = seal.close(other).expect("signed");
    other.headers = one.headers;
    assert!(seal.open(other).expect_err("moved").reason.contains("does not match"));
}

#[test]
fn keys_can_be_replaced_one_by_one() {
    for (make, kind) in
        [(signed_by as fn(&[(&str, u8)]) -> Seal, KIND_SIGNATURE), (encrypted_by, KIND_ENCRYPTION)]
    {
        let (old, both) = (make(&[("old", 1)]), make(&[("new", 2), ("old", 1)]));
        let (new, thief) = (make(&[("new", 2)]), make(&[("new", 3)]));
        let by_old = old.close(message()).expect("sealed");
        let by_new = both.close(message()).expect("sealed");
        both.open(by_old.clone()).expect("the old one is still accepted");
        new.open(by_new.clone()).expect("the new one is used");
        let refused = new.open(by_old).expect_err("retired");
        assert_eq!(refused.kind, kind);
        assert!(refused.reason.contains("key \"old\""), "{}", refused.reason);
        let refused = thief.open(by_new).expect_err("another secret");
        assert!(refused.reason.contains("key \"new\""), "{}", refused.reason);
    }
}

#[test]
fn an_encrypted_message_shows_nothing_of_its_arguments() {
    let seal = encrypted_by(&[("a", 1)]);
    let sent = seal.close(message()).expect("encrypted");
    let all = format!("{sent:?}{}", String::from_utf8_lossy(&sent.body));
    assert!(!all.contains("4711") && !all.contains("Grüße"), "{all}");
    assert_ne!(sent.body, seal.close(message()).expect("encrypted").body, "never twice the same");
    let opened = seal.open(sent).expect("opens");
    let mut expected = message();
    expected.set_header("argsrepr", ENCRYPTED);
    expected.set_header("kwargsrepr", ENCRYPTED);
    assert_eq!(opened, expected);
}

#[test]
fn an_encrypted_body_cannot_be_altered_or_moved() {
    let seal = encrypted_by(&[("a", 1)]);
    let sealed = seal.close(message()).expect("encrypted");
    let refused = |change: &dyn Fn(&mut TaskMessage)| {
        let mut altered = sealed.clone();
        change(&mut altered);
        let refused = seal.open(altered).expect_err("altered");
        assert_eq!(refused.kind, KIND_ENCRYPTION, "{}", refused.reason);
    };
    for place in 0..sealed.body.len() {
        refused(&|m| m.body[place] ^= 1);
        refused(&|m| m.body.truncate(place));
    }
    refused(&|m| m.set_header("id", "another"));
    refused(&|m| m.set_header("task", "pay.refund"));
    refused(&|m| m.content_type = names::CONTENT_TYPE_JSON.to_owned());
    let keyless = Seal::default().open(sealed).expect_err("no key");
    assert!(keyless.reason.contains("encryption_keys"), "{}", keyless.reason);
}

#[test]
fn both_together_and_neither() {
    let both = Seal {
        signing: keys(&[("s", 1)]),
        encryption: keys(&[("e", 2)]),
        require_signature: true,
        require_encryption: true,
    };
    let sent = both.close(message()).expect("sealed");
    let signer = Seal { signing: keys(&[("s", 1)]), ..Seal::default() };
    let only_signed = signer.close(message()).expect("signed");
    assert_eq!(both.open(only_signed.clone()).expect_err("plain").kind, KIND_ENCRYPTION);
    assert_eq!(both.open(message()).expect_err("plain").kind, KIND_SIGNATURE);
    both.open(sent.clone()).expect("opens");
    // Without demands: what is unsigned passes, what is signed must be right.
    assert_eq!(signer.open(message()), Ok(message()));
    let mut altered = only_signed;
    altered.body.push(b' ');
    assert_eq!(signer.open(altered).expect_err("altered").kind, KIND_SIGNATURE);
    assert_eq!(signer.open(sent).expect_err("no key").kind, KIND_ENCRYPTION);
    assert_eq!(Seal::default().close(message()), Ok(message()));
}

#[test]
fn only_true_workloads_pass_untouched() {
    let seal = signed_by(&[("a", 1)]);
    let frame = TaskMessage::frame(names::TASK_WORKLOAD, Uuid::from_u128(1), vec![1]);
    assert_eq!(seal.close(frame.clone()), Ok(frame.clone()));
    assert_eq!(seal.open(frame.clone()), Ok(frame.clone()));
    let mut disguised = frame.clone();
    disguised.set_header("task", "pay.charge");
    assert!(seal.open(disguised).is_err());
    let disguised = TaskMessage { content_type: "application/json".to_owned(), ..frame };
    assert!(seal.open(disguised).is_err());
}

#[test]
fn texts_are_bound_to_their_id() {
    let keys = keys(&[("a", 1)]).expect("keys");
    let hidden = super::encrypt_text(&keys, "id-1", "secret").expect("encrypted");
    assert!(!hidden.contains("secret"));
    assert_eq!(super::decrypt_text(&keys, "id-1", &hidden).as_deref(), Ok("secret"));
    assert!(super::decrypt_text(&keys, "id-2", &hidden).is_err());
    assert!(super::decrypt_text(&keys, "id-1", "no base64!").is_err());
    let value: Value = json!(hidden);
    assert!(value.is_string());
}
