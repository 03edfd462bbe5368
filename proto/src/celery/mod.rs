//! Celery's vocabulary, pure: task requests, signatures, events, remote control.
//!
//! Shapes follow Celery 5.6 and 5.7 and kombu's pidbox, as read in their sources and captured on the wire.

pub mod canvas;
mod control;
mod decode;
mod encode;
mod event;
mod meta;
mod repr;
mod request;
mod signature;
pub mod state;
pub mod wide;

pub use control::{ControlRequest, ReplyTo};
pub use decode::{BadMessage, parse_json};
pub use encode::wire_time;
pub use event::Event;
pub use meta::{ExceptionInfo, Meta, ResultTuple};
pub use repr::{REPR_CHARS_MAX, args_repr, kwargs_repr, repr};
pub use request::{Embed, Request};
pub use signature::Signature;
