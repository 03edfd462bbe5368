//! The secret that workers present. Never printed, compared in constant time.

use std::fmt;

use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};

/// A shared secret; `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Token(unset)" } else { "Token(***)" })
    }
}

/// Compares presented secrets with the configured one. Both go through a keyed hash first, so that
/// the time taken tells neither content nor length.
#[derive(Clone)]
pub(crate) struct Gate {
    key: hmac::Key,
    expected: Option<hmac::Tag>,
}

impl Gate {
    /// A gate for `token`; without a secret it refuses everything.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(crate) fn new(token: &Token) -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        let expected = (!token.is_empty()).then(|| hmac::sign(&key, token.expose().as_bytes()));
        Ok(Self { key, expected })
    }

    /// Whether a header `Authorization: Bearer <token>` has the right token.
    pub(crate) fn admits(&self, authorization: Option<&str>) -> bool {
        let presented = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match (&self.expected, presented) {
            (Some(expected), Some(presented)) => {
                hmac::verify(&self.key, presented.as_bytes(), expected.as_ref()).is_ok()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Token};

    #[test]
    fn admits_only_the_right_bearer() {
        let gate = Gate::new(&Token::new("s3cret")).expect("randomness");
        assert!(gate.admits(Some("Bearer s3cret")));
        assert!(gate.admits(Some("bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "Basic s3cret", "s3cret", ""] {
            assert!(!gate.admits(Some(wrong)), "{wrong:?}");
        }
        assert!(!gate.admits(None));
    }

    #[test]
    fn admits_nobody_without_a_secret() {
        let gate = Gate::new(&Token::default()).expect("randomness");
        assert!(!gate.admits(Some("Bearer ")));
        assert!(!gate.admits(None));
    }

    #[test]
    fn debug_hides_the_secret() {
        assert!(!format!("{:?}", Token::new("s3cret")).contains("s3cret"));
    }
}
