//! Which nodes a command is meant for, as kombu's pidbox decides it.

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::{Anchored, Input};
use tradewind_proto::celery::ControlRequest;

/// Longest pattern that is looked at.
const PATTERN_BYTES_MAX: usize = 1024;
/// Largest compiled pattern.
const NFA_BYTES_MAX: usize = 1024 * 1024;

/// Whether a command is meant for a node. Names go before a pattern; neither means everybody. A
/// pattern without a matcher is a glob (kombu would take it for no pattern at all).
pub(super) fn is_meant(request: &ControlRequest, node: &str) -> bool {
    if let Some(names) = request.destination.as_ref().filter(|names| !names.is_empty()) {
        return names.iter().any(|name| name == node);
    }
    let Some(pattern) = request.pattern.as_deref().filter(|pattern| !pattern.is_empty()) else {
        return true;
    };
    let matcher = request.matcher.as_deref().unwrap_or("glob");
    if pattern.len() > PATTERN_BYTES_MAX {
        tracing::warn!(bytes = pattern.len(), "command with an overlong node pattern ignored");
        return false;
    }
    match matcher {
        "glob" => glob(pattern, node),
        "pcre" => regex(pattern, node).unwrap_or_else(|reason| {
            tracing::warn!(pattern, reason, "command with a bad node pattern ignored");
            false
        }),
        other => {
            tracing::warn!(matcher = other, "command with an unknown matcher ignored");
            false
        }
    }
}

/// A match from the start of the name on, as Python's `re.match`.
fn regex(pattern: &str, node: &str) -> Result<bool, String> {
    let vm = PikeVM::builder()
        .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_BYTES_MAX)))
        .build(pattern)
        .map_err(|error| error.to_string())?;
    let mut cache = vm.create_cache();
    Ok(vm.is_match(&mut cache, Input::new(node).anchored(Anchored::Yes)))
}

/// A match of the whole name with `*`, `?`, `[abc]`, `[a-z]` and `[!abc]`, as Python's `fnmatch`.
fn glob(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much it has swallowed.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = step(&pattern, p, name[n]) {
            p = next;
            n += 1;
        } else if let Some((at, swallowed)) = star {
            star = Some((at, swallowed + 1));
            p = at + 1;
            n = swallowed + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on after one character, if it takes it.
fn step(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match class(&pattern[at + 1..]) {
            Some((set, length)) => takes(set, c).then_some(at + 1 + length),
            None => (c == '[').then_some(at + 1),
        },
        literal => (*literal == c).then_some(at + 1),
    }
}

/// The characters of a set and its length with the closing bracket; a bracket that comes first is
/// one of the characters.
fn class(rest: &[char]) -> Option<(&[char], usize)> {
    let first = usize::from(rest.first() == Some(&'!'));
    let first = first + usize::from(rest.get(first) == Some(&']'));
    let end = first + rest.get(first..)?.iter().position(|c| *c == ']')?;
    Some((&rest[..end], end + 1))
}

fn takes(set: &[char], c: char) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            found |= (set[at]..=set[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= set[at] == c;
            at += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(pattern: &str, matcher: &str, node: &str) -> bool {
        let request = ControlRequest {
            pattern: Some(pattern.to_owned()),
            matcher: Some(matcher.to_owned()),
            ..ControlRequest::default()
        };
        is_meant(&request, node)
    }

    #[test]
    fn names_come_first_and_nothing_means_everybody() {
        let mut request = ControlRequest::default();
        assert!(is_meant(&request, "celery@a"));
        request.destination = Some(Vec::new());
        assert!(is_meant(&request, "celery@a"));
        request.destination = Some(vec!["celery@b".to_owned()]);
        request.pattern = Some("*".to_owned());
        assert!(!is_meant(&request, "celery@a") && is_meant(&request, "celery@b"));
    }

    #[test]
    fn globs_match_the_whole_name() {
        for (pattern, node, expected) in [
            ("celery@*", "celery@web-1", true),
            ("celery@web", "celery@web-1", false),
            ("*@web-?", "celery@web-1", true),
            ("*@web-[0-3]", "celery@web-2", true),
            ("*@web-[!0-3]", "celery@web-2", false),
            ("*@web-[]x]", "celery@web-]", true),
            ("*@web-[12", "celery@web-[12", true),
            ("*a*b*c", "xxaxxbxxbxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("", "anything", true),
            ("**", "", true),
        ] {
            assert_eq!(meant(pattern, "glob", node), expected, "{pattern} {node}");
        }
    }

    #[test]
    fn regular_expressions_match_from_the_start() {
        assert!(meant("celery@web", "pcre", "celery@web-1"));
        assert!(!meant("web", "pcre", "celery@web-1"));
        assert!(meant(r"(celery|other)@web-\d$", "pcre", "other@web-1"));
    }

    #[test]
    fn what_cannot_be_understood_is_for_nobody() {
        assert!(!meant("(", "pcre", "celery@a"));
        assert!(!meant("*", "sql", "celery@a"));
        assert!(!meant(&"*".repeat(2000), "glob", "celery@a"));
        assert!(!meant("(a{1000}){1000}", "pcre", "a"));
    }
}
