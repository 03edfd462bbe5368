//! Celery's vocabulary, pure: task requests, signatures, events, remote control.
//!
//! Shapes follow Celery 5.6 and 5.7 and kombu's pidbox, as read in their sources and captured on the wire.

mod control;
mod event;
mod request;
mod signature;
pub mod state;

pub use control::{ControlRequest, ReplyTo};
pub use event::Event;
pub use request::{Embed, Request};
pub use signature::Signature;
