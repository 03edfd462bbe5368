//! Remote control (kombu's pidbox).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where replies go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// `reply.celery.pidbox`.
    pub exchange: String,
    /// Id of the asking client.
    pub routing_key: String,
}

/// A broadcast command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// `ping`, `revoke`, ….
    pub method: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// Node names that are meant; none: all.
    #[serde(default)]
    pub destination: Option<Vec<String>>,
    /// Pattern over node names, with `matcher`.
    #[serde(default)]
    pub pattern: Option<String>,
    /// `glob` or `pcre`.
    #[serde(default)]
    pub matcher: Option<String>,
    /// Ties replies to the request.
    #[serde(default)]
    pub ticket: Option<String>,
    /// Where replies go; none: nobody waits.
    #[serde(default)]
    pub reply_to: Option<ReplyTo>,
}
