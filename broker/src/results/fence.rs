//! Which of two results of one task stands. Pure; the drivers' scripts and SQL say the same.

/// Whether a state ends a task.
pub(super) fn is_terminal(state: &str) -> bool {
    matches!(state, "SUCCESS" | "FAILURE" | "REVOKED")
}

/// Whether a result with `token` may replace the stored one: a later attempt always does, the same
/// attempt only until it has ended, an earlier one never.
pub(super) fn replaces(token: i64, stored_token: i64, stored_state: &str) -> bool {
    token > stored_token || (token == stored_token && !is_terminal(stored_state))
}

#[cfg(test)]
mod tests {
    use super::replaces;

    #[test]
    fn a_later_attempt_replaces_even_an_end() {
        assert!(replaces(3, 2, "SUCCESS"));
        assert!(replaces(3, 2, "STARTED"));
    }

    #[test]
    fn the_same_attempt_ends_once() {
        assert!(replaces(2, 2, "STARTED"));
        assert!(replaces(2, 2, "RETRY"));
        for end in ["SUCCESS", "FAILURE", "REVOKED"] {
            assert!(!replaces(2, 2, end), "{end}");
        }
    }

    #[test]
    fn an_earlier_attempt_never_does() {
        assert!(!replaces(1, 2, "STARTED"));
        assert!(!replaces(-1, 0, "PENDING"));
    }
}
