//! Shared secrets with names, from the text of a key file.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Most keys of a list: each message names its key, so more cost nothing but are a mistake.
const KEYS_MAX: usize = 64;
/// Longest name of a key.
const NAME_BYTES_MAX: usize = 64;

/// The name of a key, as messages carry it.
pub type KeyName = String;

/// What is wrong with a key file. Never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; each line is NAME SECRET, the secret 32 random bytes in hex or base64, as from \
         `echo \"$(date +%Y-%m) $(openssl rand -hex 32)\"`"
)]
pub struct KeyListError(String);

/// A list of keys that is never empty. The first one is used for what is new, all for what arrives.
#[derive(Clone)]
pub struct SecretKeys(Vec<(KeyName, [u8; KEY_BYTES])>);

/// Names only.
impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl SecretKeys {
    /// Reads a key file: a name and a secret per line; empty lines and lines that begin with `#` are
    /// skipped.
    ///
    /// # Errors
    /// [`KeyListError`] with the line.
    pub fn parse(text: &str) -> Result<Self, KeyListError> {
        let mut keys: Vec<(KeyName, [u8; KEY_BYTES])> = Vec::new();
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |what: &str| KeyListError(format!("line {number}: {what}"));
            let mut words = line.split_whitespace();
            let (Some(name), Some(secret), None) = (words.next(), words.next(), words.next())
            else {
                return Err(wrong("not a name and a secret"));
            };
            if !is_name(name) {
                return Err(wrong(
                    "the name has other characters than A-Z a-z 0-9 . _ -, or over 64",
                ));
            }
            if keys.iter().any(|(known, _)| known == name) {
                return Err(wrong(&format!("key {name:?} is there already")));
            }
            let secret =
                bytes(secret).ok_or_else(|| wrong("the secret is neither hex nor base64"))?;
            let found = secret.len();
            let secret = <[u8; KEY_BYTES]>::try_from(secret)
                .map_err(|_| wrong(&format!("the secret has {found} bytes, not {KEY_BYTES}")))?;
            if secret.iter().all(|byte| *byte == secret[0]) {
                return Err(wrong("the secret is one byte repeated"));
            }
            keys.push((name.to_owned(), secret));
        }
        match keys.len() {
            0 => Err(KeyListError("it has no key".to_owned())),
            count if count > KEYS_MAX => {
                Err(KeyListError(format!("it has {count} keys, at most {KEYS_MAX}")))
            }
            _ => Ok(Self(keys)),
        }
    }

    /// The key for what is new.
    pub(super) fn first(&self) -> (&str, &[u8; KEY_BYTES]) {
        // Never empty, by construction.
        let (name, secret) = &self.0[0];
        (name, secret)
    }

    /// The key of a name.
    pub(super) fn find(&self, name: &str) -> Option<&[u8; KEY_BYTES]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, secret)| secret)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// What a key may be called; also what a message may say, before anything about it is believed.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() == 2 * KEY_BYTES {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pairs = text.as_bytes().chunks_exact(2);
        let hex: Option<Vec<u8>> =
            pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        if hex.is_some() {
            return hex;
        }
    }
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    engines.iter().find_map(|engine| engine.decode(text).ok())
}

#[cfg(test)]
mod tests {
    use super::SecretKeys;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn lists_are_read_in_order_whatever_the_form() {
        let text = format!("# rotated on Monday\n\n new {BASE64} \nold {HEX}\n");
        let keys = SecretKeys::parse(&text).expect("a list");
        assert_eq!(keys.names().collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(keys.find("new"), keys.find("old"));
        assert_eq!(keys.find("new").map(|key| key[31]), Some(31));
        assert_eq!(format!("{keys:?}"), r#"["new", "old"]"#, "no secret is shown");
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_without_the_secret() {
        let zeros = "00".repeat(32);
        for (text, expected) in [
            (String::new(), "no key"),
            (format!("# a\n{HEX}"), "line 2: not a name and a secret"),
            (format!("a/b {HEX}"), "line 1: the name"),
            (format!("a {HEX}\na {HEX}"), "line 2: key \"a\" is there already"),
            (format!("a {}", &HEX[..32]), "24 bytes, not 32"),
            ("a hunter2!".to_owned(), "neither hex nor base64"),
            (format!("a {zeros}"), "one byte repeated"),
        ] {
            let error = SecretKeys::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(expected) && error.contains("openssl rand"), "{error}");
            assert!(!error.contains(&HEX[..16]) && !error.contains("hunter2"), "{error}");
        }
    }
}
