//! Python's `repr` of JSON values: what monitors show of arguments and results.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::wide;

/// Most characters of a repr (Celery's `argsrepr_maxsize`); the rest becomes `...`.
pub const REPR_CHARS_MAX: usize = 1024;

const CUT: &str = "...";

/// A value: `'text'`, `None`, `[1, 2.0]`, `{'a': True}`.
pub fn repr(value: &Value) -> String {
    Writer::done(|out| out.value(value))
}

/// Positional arguments, a tuple: `(1,)`.
pub fn args_repr(args: &[Value]) -> String {
    Writer::done(|out| {
        out.push("(");
        out.items(args);
        out.push(if args.len() == 1 { ",)" } else { ")" });
    })
}

/// Keyword arguments, a dict.
pub fn kwargs_repr(kwargs: &Map<String, Value>) -> String {
    Writer::done(|out| out.dict(kwargs))
}

/// Stops writing soon after the limit, however large the value is.
struct Writer {
    text: String,
    left: usize,
}

impl Writer {
    fn done(write: impl FnOnce(&mut Self)) -> String {
        // One more than may stay, to know whether anything is to be cut.
        let mut out = Self { text: String::new(), left: REPR_CHARS_MAX + 1 };
        write(&mut out);
        if out.left > 0 {
            return out.text;
        }
        let keep = REPR_CHARS_MAX - CUT.len();
        let end = out.text.char_indices().nth(keep).map_or(out.text.len(), |(at, _)| at);
        out.text.truncate(end);
        out.text + CUT
    }

    fn push(&mut self, text: &str) {
        for c in text.chars().take(self.left) {
            self.text.push(c);
            self.left -= 1;
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.push("None"),
            Value::Bool(true) => self.push("True"),
            Value::Bool(false) => self.push("False"),
            Value::Number(number) if number.is_f64() => {
                self.push(&float(number.as_f64().unwrap_or_default()));
            }
            Value::Number(number) => self.push(&number.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.push("[");
                self.items(items);
                self.push("]");
            }
            Value::Object(members) => match wide::digits(value) {
                Some(number) => self.push(number),
                None => self.dict(members),
            },
        }
    }

    fn items(&mut self, items: &[Value]) {
        for (place, item) in items.iter().enumerate() {
            if self.left == 0 {
                return;
            }
            if place > 0 {
                self.push(", ");
            }
            self.value(item);
        }
    }

    fn dict(&mut self, members: &Map<String, Value>) {
        self.push("{");
        for (place, (name, value)) in members.iter().enumerate() {
            if self.left == 0 {
                return;
            }
            if place > 0 {
                self.push(", ");
            }
            self.string(name);
            self.push(": ");
            self.value(value);
        }
        self.push("}");
    }

    /// Single quotes, unless the text has some and no double ones.
    fn string(&mut self, text: &str) {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut escaped = String::from(quote);
        for c in text.chars().take(self.left) {
            match c {
                '\\' => escaped.push_str("\\\\"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                c if c == quote => {
                    escaped.push('\\');
                    escaped.push(c);
                }
                c if c.is_control() => {
                    // Writing to a String cannot fail.
                    let _ = write!(escaped, "\\x{:02x}", u32::from(c));
                }
                c => escaped.push(c),
            }
        }
        escaped.push(quote);
        self.push(&escaped);
    }
}

/// Python's shortest form: an exponent below 1e-4 and from 1e16 on, always two digits of it.
fn float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let Some((digits, exponent)) = text.split_once('e') else { return text };
        let power: i32 = exponent.parse().unwrap_or_default();
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", power.abs());
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_look_as_python_shows_them() {
        let shown = repr(
            &json!([null, true, 1, 1.0, 1e16, 1.5e-7, 0.0001, "it's", "a\"'b", "\n\u{7}é", {"a": []}]),
        );
        assert_eq!(
            shown,
            r#"[None, True, 1, 1.0, 1e+16, 1.5e-07, 0.0001, "it's", 'a"\'b', '\n\x07é', {'a': []}]"#
        );
    }

    #[test]
    fn arguments_are_a_tuple_and_a_dict() {
        assert_eq!(args_repr(&[]), "()");
        assert_eq!(args_repr(&[json!(2)]), "(2,)");
        assert_eq!(args_repr(&[json!(2), json!("x")]), "(2, 'x')");
        let kwargs = json!({"debug": false});
        assert_eq!(kwargs_repr(kwargs.as_object().expect("an object")), "{'debug': False}");
    }

    #[test]
    fn a_long_one_is_cut_and_costs_no_more_than_it_shows() {
        let exact = "x".repeat(REPR_CHARS_MAX - 2);
        assert_eq!(repr(&json!(exact)), format!("'{exact}'"));
        let long = repr(&json!("é".repeat(5_000)));
        assert_eq!(long.chars().count(), REPR_CHARS_MAX);
        assert!(long.ends_with("é..."));
        let many: Vec<u32> = (0..1_000_000).collect();
        assert_eq!(repr(&json!(many)).chars().count(), REPR_CHARS_MAX);
    }
}
