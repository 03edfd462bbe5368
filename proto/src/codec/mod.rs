//! Binary encoding of what only our own processes read.

mod binary;
mod frame;

pub use binary::{Decode, DecodeError, Encode, decode, encode};
pub use frame::{Frame, FrameError, Kind};
