//! Waiting for something that another process does.

use std::time::{Duration, Instant};

/// Asks `look` until it gives a value, at most `limit`.
///
/// # Panics
/// When the limit passes; the message has `what` and how long was waited.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        pause(Duration::from_millis(50));
    }
}

/// Waits between two looks at another process.
pub fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "other processes give no signal to await")]
    std::thread::sleep(time);
}
