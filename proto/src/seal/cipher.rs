//! Encrypted bodies: `1 | length of the key's name | name | 32 random bytes | ciphertext and tag`.
//!
//! Each message has a key of its own (HKDF-SHA256 of the shared one and the random bytes), so that no
//! number of messages wears a key out and the cipher's nonce can be zero. The type and encoding of the
//! body are inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::keys::is_name;
use super::{ENCRYPTED, Refused, SealError, SecretKeys};
use crate::message::TaskMessage;
use crate::names::CONTENT_TYPE_ENCRYPTED;

const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
const CONTEXT_BODY: &[u8] = b"tradewind task message body v1";
const CONTEXT_TEXT: &[u8] = b"tradewind result text v1";
/// Reason of a refusal without any key.
pub(super) const NO_KEYS: &str =
    "the body is encrypted, and this worker has no key; set [security] encryption_keys";

pub(super) fn is_encrypted(message: &TaskMessage) -> bool {
    message.content_type == CONTENT_TYPE_ENCRYPTED
}

/// Hides the body and the previews of its arguments.
pub(super) fn encrypt(message: &mut TaskMessage, keys: &SecretKeys) -> Result<(), SealError> {
    let (kind, encoding) = (&message.content_type, &message.content_encoding);
    let length = |text: &str| {
        u8::try_from(text.len()).map_err(|_| SealError(format!("{text:?} has over 255 bytes")))
    };
    let mut plain = Vec::with_capacity(message.body.len() + kind.len() + encoding.len() + 2);
    for text in [kind, encoding] {
        plain.push(length(text)?);
        plain.extend_from_slice(text.as_bytes());
    }
    plain.extend_from_slice(&message.body);
    message.body = lock(keys, CONTEXT_BODY, &binding(message), plain)?;
    message.content_type = CONTENT_TYPE_ENCRYPTED.to_owned();
    message.content_encoding = "binary".to_owned();
    for name in ["argsrepr", "kwargsrepr"] {
        message.set_header(name, ENCRYPTED);
    }
    Ok(())
}

pub(super) fn decrypt(message: &mut TaskMessage, keys: &SecretKeys) -> Result<(), Refused> {
    let plain = unlock(keys, CONTEXT_BODY, &binding(message), &message.body)
        .map_err(|why| Refused::encryption(why.reason("the body")))?;
    let mut rest = plain.as_slice();
    let mut text = || {
        let (length, tail) = rest.split_first()?;
        let (text, tail) = tail.split_at_checked(usize::from(*length))?;
        rest = tail;
        String::from_utf8(text.to_vec()).ok()
    };
    let (Some(kind), Some(encoding)) = (text(), text()) else {
        return Err(Refused::encryption("the decrypted body has no type"));
    };
    (message.content_type, message.content_encoding, message.body) =
        (kind, encoding, rest.to_vec());
    Ok(())
}

/// What a body belongs to: it cannot be moved to another task.
fn binding(message: &TaskMessage) -> Vec<u8> {
    let (id, task) = (message.id().unwrap_or_default(), message.task().unwrap_or_default());
    [id.as_bytes(), b"\0", task.as_bytes()].concat()
}

/// Why something cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decryption {
    /// Not what we write.
    Form,
    /// By a key that is not in the list.
    UnknownKey(String),
    /// Altered, moved, or by another key of the same name.
    Mismatch(String),
}

impl Decryption {
    /// The reason in words; `what` is what could not be decrypted.
    pub fn reason(&self, what: &str) -> String {
        match self {
            Self::Form => format!("{what} has a form that this version does not know"),
            Self::UnknownKey(name) => {
                format!("key {name:?} of {what} is not in [security] encryption_keys here")
            }
            Self::Mismatch(name) => format!(
                "{what} does not decrypt with key {name:?}: altered, from another message, or \
                 another secret under that name"
            ),
        }
    }
}

/// Encrypts a text that is kept under an id, as base64.
///
/// # Errors
/// When the system has no randomness.
pub fn encrypt_text(keys: &SecretKeys, id: &str, text: &str) -> Result<String, SealError> {
    let locked = lock(keys, CONTEXT_TEXT, id.as_bytes(), text.as_bytes().to_vec())?;
    Ok(STANDARD.encode(locked))
}

/// The text behind [`encrypt_text`].
///
/// # Errors
/// [`Decryption`].
pub fn decrypt_text(keys: &SecretKeys, id: &str, text: &str) -> Result<String, Decryption> {
    let locked = STANDARD.decode(text).map_err(|_| Decryption::Form)?;
    let plain = unlock(keys, CONTEXT_TEXT, id.as_bytes(), &locked)?;
    String::from_utf8(plain).map_err(|_| Decryption::Form)
}

fn lock(
    keys: &SecretKeys,
    context: &[u8],
    bound: &[u8],
    mut data: Vec<u8>,
) -> Result<Vec<u8>, SealError> {
    let (name, secret) = keys.first();
    let mut salt = [0; SALT_BYTES];
    let fault = |_| SealError("the system has no randomness to give".to_owned());
    SystemRandom::new().fill(&mut salt).map_err(fault)?;
    let head = [&[VERSION, u8::try_from(name.len()).unwrap_or(0)], name.as_bytes()].concat();
    let aad = Aad::from([&head, bound].concat());
    let key = derive(secret, &salt, context);
    key.seal_in_place_append_tag(nonce(), aad, &mut data)
        .map_err(|_| SealError("the body is too large".to_owned()))?;
    Ok([head.as_slice(), &salt, &data].concat())
}

fn unlock(
    keys: &SecretKeys,
    context: &[u8],
    bound: &[u8],
    locked: &[u8],
) -> Result<Vec<u8>, Decryption> {
    let [VERSION, length, tail @ ..] = locked else { return Err(Decryption::Form) };
    let parts = tail.split_at_checked(usize::from(*length));
    let (name, tail) = parts.ok_or(Decryption::Form)?;
    let name =
        std::str::from_utf8(name).ok().filter(|name| is_name(name)).ok_or(Decryption::Form)?;
    let (salt, data) = tail.split_first_chunk::<SALT_BYTES>().ok_or(Decryption::Form)?;
    let secret = keys.find(name).ok_or_else(|| Decryption::UnknownKey(name.to_owned()))?;
    let aad = Aad::from([&locked[..2 + name.len()], bound].concat());
    let mut data = data.to_vec();
    let plain = derive(secret, salt, context)
        .open_in_place(nonce(), aad, &mut data)
        .map_err(|_| Decryption::Mismatch(name.to_owned()))?
        .len();
    data.truncate(plain);
    Ok(data)
}

/// The key of one message.
fn derive(secret: &[u8], salt: &[u8], context: &[u8]) -> LessSafeKey {
    let info = [context];
    let expanded = Salt::new(HKDF_SHA256, salt).extract(secret);
    // Fails only for lengths that the algorithm does not have.
    let key = expanded.expand(&info, &CHACHA20_POLY1305).map(UnboundKey::from);
    LessSafeKey::new(key.unwrap_or_else(|_| unreachable!("HKDF gives 32 bytes")))
}

/// The key is used once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}
