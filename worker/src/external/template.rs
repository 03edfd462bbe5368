//! Placeholders in a command's arguments: `{0}` is the first positional argument, `{name}` a keyword
//! argument, `{{` and `}}` are braces. Pure. There is no shell: a value is never more than one argument.

use serde_json::{Map, Value};
use tradewind_proto::celery::wide;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Positional(usize),
    Keyword(String),
}

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads an argument.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            Err(format!(
                "argument {text:?} {what}; use {{0}} or {{name}}, and {{{{ or }}}} for a brace"
            ))
        };
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    rest.next();
                    literal.push(c);
                }
                '}' => return wrong("has a } without its {"),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) if c.is_alphanumeric() || c == '_' => name.push(c),
                            _ => return wrong("has a { without its }"),
                        }
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(match name.parse() {
                        Ok(index) => Piece::Positional(index),
                        Err(_) if name.is_empty() => return wrong("has an empty placeholder"),
                        Err(_) => Piece::Keyword(name),
                    });
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Puts a call's arguments in.
    pub(super) fn fill(
        &self,
        args: &[Value],
        kwargs: &Map<String, Value>,
    ) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Positional(index) => {
                    let Some(value) = args.get(*index) else {
                        let given = args.len();
                        return Err(format!(
                            "takes a positional argument {{{index}}} but {given} were given"
                        ));
                    };
                    push(&mut out, value);
                }
                Piece::Keyword(name) => match kwargs.get(name) {
                    Some(value) => push(&mut out, value),
                    None => return Err(format!("missing a keyword argument: {name:?}")),
                },
            }
        }
        if out.contains('\0') {
            return Err(
                "an argument contains a NUL character, which no command can be given".to_owned()
            );
        }
        Ok(out)
    }
}

fn push(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => out.push_str(text),
        other => out.push_str(&wide::to_json(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Template;

    fn fill(text: &str, args: &Value, kwargs: &Value) -> Result<String, String> {
        let template = Template::parse(text).expect("valid");
        template.fill(args.as_array().expect("array"), kwargs.as_object().expect("object"))
    }

    #[test]
    fn values_take_their_places() {
        let (args, kwargs) = (json!(["a b; rm", 2, null]), json!({"to": [1, "x"]}));
        for (text, expected) in [
            ("{0}", "a b; rm"),
            ("--n={1}", "--n=2"),
            ("{2}{to}!", "null[1,\"x\"]!"),
            ("{{0}} {{", "{0} {"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(fill(text, &args, &kwargs).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(fill("{1}", &json!([1]), &json!({})).expect_err("short").contains("{1}"));
        assert!(fill("{x}", &json!([]), &json!({})).expect_err("none").contains("\"x\""));
        assert!(fill("{0}", &json!(["\0"]), &json!({})).expect_err("NUL").contains("NUL"));
        for text in ["{", "{a", "}", "{}", "{a b}"] {
            assert!(Template::parse(text).expect_err(text).contains("{name}"), "{text}");
        }
    }
}
