//! Keeps metric labels few: names that come from messages are not ours to count without a bound.

use std::collections::HashSet;

/// What a value becomes once there is no room for it.
pub const OTHER: &str = "other";
/// Longest label value, in bytes; longer ones are folded.
pub const LABEL_BYTES_MAX: usize = 200;

/// The values that one label may have: the first `max` that are seen, all others fold into [`OTHER`].
#[derive(Debug, Clone)]
pub struct LabelCap {
    max: usize,
    seen: HashSet<Box<str>>,
    folded: u64,
}

impl LabelCap {
    /// A label with at most `max` values besides [`OTHER`].
    pub fn new(max: usize) -> Self {
        Self { max, seen: HashSet::new(), folded: 0 }
    }

    /// The value itself while there is room, otherwise [`OTHER`].
    pub fn fold<'a>(&mut self, value: &'a str) -> &'a str {
        if self.seen.contains(value) {
            return value;
        }
        if self.seen.len() >= self.max || value.len() > LABEL_BYTES_MAX {
            self.folded += 1;
            return OTHER;
        }
        self.seen.insert(value.into());
        value
    }

    /// Makes room again.
    pub fn forget(&mut self, value: &str) {
        self.seen.remove(value);
    }

    /// How often a value was folded since this was last asked.
    pub fn take_folded(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }
}

#[cfg(test)]
mod tests {
    use super::{LABEL_BYTES_MAX, LabelCap, OTHER};

    #[test]
    fn the_first_values_keep_their_names() {
        let mut cap = LabelCap::new(2);
        assert_eq!(
            (cap.fold("a"), cap.fold("b"), cap.fold("c"), cap.fold("a")),
            ("a", "b", OTHER, "a")
        );
        assert_eq!((cap.take_folded(), cap.take_folded()), (1, 0));
        cap.forget("a");
        assert_eq!(cap.fold("c"), "c");
        let long = "x".repeat(LABEL_BYTES_MAX + 1);
        assert_eq!(LabelCap::new(2).fold(&long), OTHER);
    }
}
