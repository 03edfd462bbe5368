//! Tokens of a template's tags. Knows just enough to find the end of a tag and the operators in it.

use thiserror::Error;

/// What a token is to the rewriter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ident,
    Literal,
    Op,
    Open,
    Close,
}

/// A token: its kind and text.
pub(super) type Token<'a> = (Kind, &'a str);

/// Deepest nesting of brackets in a tag. The engine recurses over it on the caller's stack.
const DEPTH_MAX: usize = 30;
/// Most tokens in a tag, for the same reason: a chain of operators is as deep as it is long.
const TOKENS_MAX: usize = 600;
/// Most operators in a tag that become calls, since those nest too.
const CALLS_MAX: usize = 30;

/// Why a template was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unread {
    /// A tag does not end, or holds something unknown.
    #[error("a tag in the template does not end, or holds a character that is not allowed there")]
    Unknown,
    /// It is nested too deeply or too long for the engine.
    #[error("the template is nested too deeply, or an expression in it is too long")]
    TooComplex,
}

const TWO: [&str; 6] = ["**", "//", "==", "!=", "<=", ">="];

/// A tag's tokens, its closing text and what follows it.
pub(super) type Tag<'a> = (Vec<Token<'a>>, &'a str, &'a str);

/// Reads tokens until `end` (`}}` or `%}`, with its whitespace control) outside of all brackets.
pub(super) fn tag<'a>(text: &'a str, end: &str) -> Result<Tag<'a>, Unread> {
    let mut tokens = Vec::new();
    let (mut depth, mut calls) = (0_usize, 0_usize);
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if depth == 0
            && let Some(length) = closing(rest, end)
        {
            return Ok((tokens, &rest[..length], &rest[length..]));
        }
        let (kind, length) = next(rest).ok_or(Unread::Unknown)?;
        match kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1).ok_or(Unread::Unknown)?,
            _ => {}
        }
        calls += usize::from(matches!(&rest[..length], "+" | "-" | "%" | "~"));
        if depth > DEPTH_MAX || calls > CALLS_MAX || tokens.len() >= TOKENS_MAX {
            return Err(Unread::TooComplex);
        }
        tokens.push((kind, &rest[..length]));
        rest = &rest[length..];
    }
}

fn closing(rest: &str, end: &str) -> Option<usize> {
    if rest.starts_with(end) {
        return Some(end.len());
    }
    let marked = rest.strip_prefix(['-', '+'])?;
    marked.starts_with(end).then(|| end.len() + 1)
}

fn next(rest: &str) -> Option<(Kind, usize)> {
    let first = rest.chars().next()?;
    if first.is_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        return Some((Kind::Ident, end));
    }
    if first.is_ascii_digit() {
        return Some((Kind::Literal, number(rest)));
    }
    if first == '"' || first == '\'' {
        return string(rest, first).map(|length| (Kind::Literal, length));
    }
    if TWO.iter().any(|op| rest.starts_with(op)) {
        return Some((Kind::Op, 2));
    }
    match first {
        '(' | '[' | '{' => Some((Kind::Open, 1)),
        ')' | ']' | '}' => Some((Kind::Close, 1)),
        '+' | '-' | '*' | '/' | '%' | '~' | '|' | '.' | ',' | ':' | '=' | '<' | '>' => {
            Some((Kind::Op, 1))
        }
        _ => None,
    }
}

fn number(rest: &str) -> usize {
    let digits = |text: &str| {
        text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
    };
    let whole = digits(rest);
    match rest[whole..].strip_prefix('.') {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            whole + 1 + digits(fraction)
        }
        _ => whole,
    }
}

fn string(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}
