//! Operators that the template engine cannot overload become calls: `a + b` is `__add(a, b)`, likewise
//! `-`, `%` and `~`. So dates take part in arithmetic.
//!
//! Works on tokens under Jinja's precedence: keywords and comparisons bind weaker than `+ -`, then `~`,
//! then `* / // %`, then everything else. A tag that it cannot read is an error.

use super::lex::{self, Kind, Token, Unread};

/// Most statement tags of a template: blocks nest, and the engine recurses over them.
const STATEMENTS_MAX: usize = 200;

/// Rewrites all tags of a template. What comes back is simple enough for the engine's stack.
pub(super) fn operators(source: &str) -> Result<String, Unread> {
    let mut statements = 0;
    let mut out = String::with_capacity(source.len() + 32);
    let mut rest = source;
    while let Some(at) = find_tag(rest) {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let (opener, body) = tag.split_at(2);
        if opener == "{#" {
            let length = tag.find("#}").ok_or(Unread::Unknown)? + 2;
            out.push_str(&tag[..length]);
            rest = &tag[length..];
            continue;
        }
        let (tokens, close, after) =
            lex::tag(body.strip_prefix(['-', '+']).unwrap_or(body), closer(opener))?;
        statements += usize::from(opener == "{%");
        if statements > STATEMENTS_MAX {
            return Err(Unread::TooComplex);
        }
        if opener == "{%" && tokens == [(Kind::Ident, "raw")] {
            let length = tag.len() - after.len() + raw_length(after).ok_or(Unread::Unknown)?;
            out.push_str(&tag[..length]);
            rest = &tag[length..];
            continue;
        }
        if tokens.iter().any(|token| matches!(token, (Kind::Op, "+" | "-" | "%" | "~"))) {
            let control = body.len() - body.trim_start_matches(['-', '+']).len();
            out.push_str(&tag[..2 + control.min(1)]);
            out.push(' ');
            out.push_str(&sequence(&tokens, opener == "{%"));
            out.push(' ');
            out.push_str(close);
        } else {
            out.push_str(&tag[..tag.len() - after.len()]);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn find_tag(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| pair[0] == b'{' && b"{%#".contains(&pair[1]))
}

fn closer(opener: &str) -> &'static str {
    if opener == "{{" { "}}" } else { "%}" }
}

/// Length of raw text up to and including its `{% endraw %}`.
fn raw_length(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("{%")?;
        let body = &text[at + 2..];
        if let Ok((tokens, _, after)) =
            lex::tag(body.strip_prefix(['-', '+']).unwrap_or(body), "%}")
            && tokens == [(Kind::Ident, "endraw")]
        {
            return Some(text.len() - after.len());
        }
        from = at + 2;
    }
}

/// Expressions separated by what binds weaker than arithmetic. The first word of a statement tag is a
/// separator too.
fn sequence(tokens: &[Token<'_>], statement: bool) -> String {
    let mut out = String::new();
    let mut start = 0;
    for at in top_level(tokens) {
        if separates(tokens, at) || (statement && at == 0) {
            out.push_str(&sum(&tokens[start..at]));
            out.push(' ');
            out.push_str(tokens[at].1);
            out.push(' ');
            start = at + 1;
        }
    }
    out.push_str(&sum(&tokens[start..]));
    out
}

fn separates(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|i| tokens[i]);
    match tokens[at] {
        (Kind::Op, "==" | "!=" | "<" | "<=" | ">" | ">=" | "=" | "," | ":") => true,
        (Kind::Ident, "or" | "and" | "not" | "in" | "if" | "else" | "recursive") => {
            let name = matches!(before(1), Some((Kind::Op, "." | "|")));
            let test = before(1) == Some((Kind::Ident, "is"))
                || (before(1) == Some((Kind::Ident, "not"))
                    && before(2) == Some((Kind::Ident, "is")));
            !name && !test
        }
        _ => false,
    }
}

fn sum(tokens: &[Token<'_>]) -> String {
    fold(
        tokens,
        &["+", "-"],
        &|op, left, right| match op {
            "+" => format!("__add({left}, {right})"),
            _ => format!("__sub({left}, {right})"),
        },
        &concat,
    )
}

fn concat(tokens: &[Token<'_>]) -> String {
    fold(tokens, &["~"], &|_, left, right| format!("__concat({left}, {right})"), &product)
}

fn product(tokens: &[Token<'_>]) -> String {
    fold(
        tokens,
        &["*", "/", "//", "%"],
        &|op, left, right| match op {
            "%" => format!("__mod({left}, {right})"),
            _ => format!("{left} {op} {right}"),
        },
        &plain,
    )
}

/// Splits at binary operators of one precedence and joins from the left.
fn fold(
    tokens: &[Token<'_>],
    ops: &[&str],
    join: &dyn Fn(&str, &str, &str) -> String,
    operand: &dyn Fn(&[Token<'_>]) -> String,
) -> String {
    let mut joined: Option<(String, &str)> = None;
    let mut start = 0;
    let step = |joined: Option<(String, &str)>, right: String| match joined {
        Some((left, op)) => join(op, &left, &right),
        None => right,
    };
    for at in top_level(tokens) {
        let (kind, text) = tokens[at];
        if kind == Kind::Op && ops.contains(&text) && at > start && ends_operand(tokens[at - 1]) {
            joined = Some((step(joined.take(), operand(&tokens[start..at])), text));
            start = at + 1;
        }
    }
    step(joined, operand(&tokens[start..]))
}

/// Whether an operator after this token is binary.
fn ends_operand((kind, _): Token<'_>) -> bool {
    matches!(kind, Kind::Ident | Kind::Literal | Kind::Close)
}

/// Tokens as they are, apart from what is in their brackets.
fn plain(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(&(kind, text)) = tokens.get(at) {
        let tight = matches!(text, "." | "(" | "[") || out.ends_with('.') || out.is_empty();
        if !tight {
            out.push(' ');
        }
        out.push_str(text);
        at += 1;
        if kind == Kind::Open {
            let inner = group_length(&tokens[at..]);
            out.push_str(&sequence(&tokens[at..at + inner], false));
            at += inner;
        }
    }
    out
}

/// Number of tokens before the bracket that closes the group.
fn group_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, (kind, _)) in tokens.iter().enumerate() {
        match kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => return at,
            Kind::Close => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Positions outside of all brackets; a bracket itself counts as outside.
fn top_level<'a>(tokens: &'a [Token<'a>]) -> impl Iterator<Item = usize> + 'a {
    let mut depth = 0_usize;
    tokens.iter().enumerate().filter_map(move |(at, (kind, _))| {
        if *kind == Kind::Close {
            depth = depth.saturating_sub(1);
        }
        let outside = depth == 0;
        if *kind == Kind::Open {
            depth += 1;
        }
        outside.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::{Unread, operators};

    #[test]
    fn only_arithmetic_is_rewritten() {
        for same in [
            "plain {{ a }} text",
            "{{ a.b|upper }}",
            "{# a + b #}{{ c }}",
            "{{ 'a + b' }}",
            "{%- raw -%} {{ a + b }} {% endraw %}",
            "{{- a -}}",
            "{{ {'a': {'b': 1}} }}",
            "{{ a * b / c }}",
        ] {
            assert_eq!(operators(same).as_deref(), Ok(same));
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for bad in ["unclosed {{ a + b", "{{ a ! b }}", "{{ a) }}", "{{ 'a }}", "{# a", "{% raw %}"]
        {
            assert_eq!(operators(bad), Err(Unread::Unknown), "{bad}");
        }
        assert_eq!(operators(&"{% if a %}".repeat(201)), Err(Unread::TooComplex));
    }

    #[test]
    fn precedence_is_jinjas() {
        for (source, expected) in [
            ("{{ a + b }}", "{{ __add(a, b) }}"),
            ("{{- a-b -}}", "{{- __sub(a, b) -}}"),
            ("{{ a - b + c }}", "{{ __add(__sub(a, b), c) }}"),
            ("{{ a + b * c % d }}", "{{ __add(a, __mod(b * c, d)) }}"),
            ("{{ a ~ b + c }}", "{{ __add(__concat(a, b), c) }}"),
            ("{{ -a + -b }}", "{{ __add(- a, - b) }}"),
            ("{{ -a }}", "{{ - a }}"),
            ("{{ (a + b).c }}", "{{ (__add(a, b) ).c }}"),
            (
                "{{ f(a + b, k=c - d)[e + 1] }}",
                "{{ f(__add(a, b) , k = __sub(c, d) )[__add(e, 1) ] }}",
            ),
            ("{{ a + b if c - d > e else f }}", "{{ __add(a, b) if __sub(c, d) > e else f }}"),
            ("{% set x = a + b %}", "{%  set x = __add(a, b) %}"),
            ("{% if not a - b is not in c %}", "{%  if  not __sub(a, b is not in c) %}"),
            ("{{ a|f(b + 1)|g + 2 }}", "{{ __add(a | f(__add(b, 1) ) | g, 2) }}"),
            ("{{ '%s' % x }}", "{{ __mod('%s', x) }}"),
            ("{{ 1.5e3 - 2 }}", "{{ __sub(1.5e3, 2) }}"),
            ("{{ x.if - y }}", "{{ __sub(x.if, y) }}"),
        ] {
            assert_eq!(operators(source).as_deref(), Ok(expected), "{source}");
        }
    }
}
