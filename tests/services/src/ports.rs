//! Free ports below the ephemeral range, so that a restarted server finds its port still free.

use std::net::TcpListener;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
const TRIES: usize = 200;

/// A port of 127.0.0.1 that nobody listens on now. Random, so that parallel test processes rarely
/// choose the same one; a start that loses the race is retried with another.
pub(crate) fn free() -> u16 {
    for _ in 0..TRIES {
        let bytes = uuid::Uuid::new_v4().into_bytes();
        let port = FIRST + u16::from_be_bytes([bytes[0], bytes[1]]) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port among {TRIES} tried between {FIRST} and {}", FIRST + COUNT)
}
