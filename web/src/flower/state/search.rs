//! Flower's search language for tasks: words, `field:value`, quotes, `AND`, `OR`, brackets.

use std::fmt;

use serde_json::Value;

use super::Task;

/// Longest query, in characters.
const QUERY_CHARS_MAX: usize = 2048;
/// Most words, operators and brackets.
const TOKENS_MAX: usize = 128;
/// Deepest brackets.
const DEPTH_MAX: usize = 5;
/// Shortest text that is looked for inside others.
const SUBSTRING_MIN: usize = 3;

/// A query that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(Option<Node>);

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchError {
    message: String,
    position: Option<usize>,
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} at position {position}.", self.message),
            None => write!(f, "{}.", self.message),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Any(Vec<Self>),
    All(Vec<Self>),
    Term(Field, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Everything,
    Name,
    State,
    Worker,
    Args,
    Kwargs,
    KwargsPair,
    Result,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Term(String),
}

impl Search {
    /// Reads a query; an empty one matches everything.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, SearchError> {
        let text = text.trim();
        if text.chars().count() > QUERY_CHARS_MAX {
            let message = format!("Query exceeds {QUERY_CHARS_MAX} characters");
            return Err(SearchError { message, position: None });
        }
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self(None));
        }
        let mut parser = Parser { tokens: &tokens, at: 0, end: text.chars().count() };
        let node = parser.any(0)?;
        match parser.tokens.get(parser.at) {
            None => Ok(Self(Some(node))),
            Some((_, position)) => Err(wrong("Unexpected ')'", *position)),
        }
    }

    /// Whether a task matches.
    pub fn matches(&self, task: &Task) -> bool {
        self.0.as_ref().is_none_or(|node| node.matches(task))
    }
}

fn wrong(message: impl Into<String>, position: usize) -> SearchError {
    SearchError { message: message.into(), position: Some(position) }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, SearchError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let position = at;
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            space if space.is_whitespace() => {
                at += 1;
                continue;
            }
            _ => {
                let (token, next) = word(&chars, at)?;
                at = next - 1;
                token
            }
        };
        at += 1;
        tokens.push((token, position));
        if tokens.len() > TOKENS_MAX {
            let message = format!("Query exceeds {TOKENS_MAX} tokens");
            return Err(wrong(message, position));
        }
    }
    Ok(tokens)
}

/// A word that starts at `start`, and where the next one may.
fn word(chars: &[char], start: usize) -> Result<(Token, usize), SearchError> {
    let mut value = String::new();
    let (mut at, mut quoted, mut inside) = (start, false, false);
    while let Some(&char) = chars.get(at) {
        match char {
            '\\' if matches!(chars.get(at + 1), Some('"' | '\\')) => {
                value.push(chars[at + 1]);
                at += 1;
            }
            '"' => {
                quoted = true;
                inside = !inside;
            }
            _ if !inside && (char.is_whitespace() || char == '(' || char == ')') => break,
            _ => value.push(char),
        }
        at += 1;
    }
    if inside {
        return Err(wrong("Unterminated quoted phrase", start));
    }
    let token = match value.as_str() {
        "" => return Err(wrong("Empty search term", start)),
        "AND" if !quoted => Token::And,
        "OR" if !quoted => Token::Or,
        "NOT" if !quoted => return Err(wrong("NOT is not supported", start)),
        _ => Token::Term(value),
    };
    Ok((token, at))
}

struct Parser<'a> {
    tokens: &'a [(Token, usize)],
    at: usize,
    end: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(_, position)| *position)
    }

    fn starts_term(&self) -> bool {
        matches!(self.peek(), Some(Token::Term(_) | Token::Open))
    }

    fn any(&mut self, depth: usize) -> Result<Node, SearchError> {
        let mut nodes = vec![self.all(depth)?];
        while self.peek() == Some(&Token::Or) {
            let position = self.position();
            self.at += 1;
            if !self.starts_term() {
                return Err(wrong("OR must be followed by a search term", position));
            }
            nodes.push(self.all(depth)?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self, depth: usize) -> Result<Node, SearchError> {
        let mut nodes = vec![self.primary(depth)?];
        while !matches!(self.peek(), None | Some(Token::Close | Token::Or)) {
            if self.peek() == Some(&Token::And) {
                let position = self.position();
                self.at += 1;
                if !self.starts_term() {
                    return Err(wrong("AND must be followed by a search term", position));
                }
            }
            nodes.push(self.primary(depth)?);
        }
        Ok(Node::All(nodes))
    }

    fn primary(&mut self, depth: usize) -> Result<Node, SearchError> {
        let position = self.position();
        match self.peek() {
            Some(Token::Term(value)) => {
                let node = term(value, position)?;
                self.at += 1;
                Ok(node)
            }
            Some(Token::Open) if depth >= DEPTH_MAX => {
                Err(wrong(format!("Query nesting exceeds {DEPTH_MAX} levels"), position))
            }
            Some(Token::Open) => {
                self.at += 1;
                if self.peek() == Some(&Token::Close) {
                    return Err(wrong("Empty group", position));
                }
                let node = self.any(depth + 1)?;
                if self.peek() != Some(&Token::Close) {
                    return Err(wrong("Missing closing parenthesis", position));
                }
                self.at += 1;
                Ok(node)
            }
            _ => Err(wrong("Expected a search term", position)),
        }
    }
}

fn term(text: &str, position: usize) -> Result<Node, SearchError> {
    let qualified = text.split_once(':').and_then(|(field, value)| {
        let field = match field.to_lowercase().as_str() {
            "name" => Field::Name,
            "state" => Field::State,
            "worker" => Field::Worker,
            "args" => Field::Args,
            "kwargs" if value.contains('=') => Field::KwargsPair,
            "kwargs" => Field::Kwargs,
            "result" => Field::Result,
            _ => return None,
        };
        Some((field, value))
    });
    let (field, value) = match qualified {
        Some(found) => found,
        None if text.starts_with('-') => {
            return Err(wrong("Negation with '-' is not supported", position));
        }
        None => (Field::Everything, text),
    };
    if value.is_empty() {
        return Err(wrong("Search qualifier requires a value", position));
    }
    let exact = matches!(field, Field::State | Field::KwargsPair);
    if !exact && value.trim().chars().count() < SUBSTRING_MIN {
        let message =
            format!("Substring search terms must contain at least {SUBSTRING_MIN} characters");
        return Err(wrong(message, position));
    }
    let value = match (field, value.split_once('=')) {
        (Field::KwargsPair, Some((name, item))) => format!("{}={}", name.trim(), item.trim()),
        _ => value.to_owned(),
    };
    Ok(Node::Term(field, value.to_lowercase()))
}

impl Node {
    fn matches(&self, task: &Task) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(task)),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(task)),
            Self::Term(field, value) => term_matches(*field, value, task),
        }
    }
}

fn term_matches(field: Field, value: &str, task: &Task) -> bool {
    let inside = |text: Option<&str>| text.is_some_and(|text| text.to_lowercase().contains(value));
    match field {
        Field::Name => inside(task.name.as_deref()),
        Field::State => task.state.to_lowercase() == value,
        Field::Worker => inside(task.worker.as_deref()),
        Field::Args => inside(task.args.as_deref()),
        Field::Kwargs => inside(task.kwargs.as_deref()),
        Field::Result => inside(task.result.as_deref()),
        Field::KwargsPair => {
            task.kwargs.as_deref().is_some_and(|kwargs| has_pair(&kwargs.to_lowercase(), value))
        }
        Field::Everything => {
            inside(Some(&task.uuid))
                || inside(task.name.as_deref())
                || inside(Some(&task.state))
                || inside(task.worker.as_deref())
                || inside(task.args.as_deref())
                || inside(task.kwargs.as_deref())
                || inside(task.result.as_deref())
        }
    }
}

/// Whether a Python or JSON map of plain values has `name=value`.
fn has_pair(kwargs: &str, pair: &str) -> bool {
    let Some((name, wanted)) = pair.split_once('=') else {
        return false;
    };
    let python = kwargs.replace('\'', "\"").replace("none", "null");
    match serde_json::from_str::<Value>(&python) {
        Ok(Value::Object(map)) => map.get(name).is_some_and(|found| match found {
            Value::String(text) => text == wanted,
            Value::Null => wanted == "none",
            other => {
                let shown = other.to_string();
                shown == wanted
            }
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Search, Task};

    fn task() -> Task {
        let mut task = Task::new("uuid-1234");
        task.name = Some(Arc::from("shop.Charge"));
        task.state = Arc::from("FAILURE");
        task.worker = Some(Arc::from("celery@one"));
        task.args = Some("('alice', 5)".to_owned());
        task.kwargs = Some("{'user': 'Bob', 'n': 7, 'now': True, 'why': None}".to_owned());
        task
    }

    #[test]
    fn queries_match_as_flowers_do() {
        let task = task();
        for (query, expected) in [
            ("", true),
            ("charge", true),
            ("uuid-12", true),
            ("name:charge state:failure", true),
            ("state:fail", false),
            ("refund OR charge", true),
            ("refund AND charge", false),
            ("(refund OR charge) worker:one", true),
            ("args:\"alice', 5\"", true),
            ("kwargs:user=bob", true),
            ("kwargs:n=7 kwargs:now=true kwargs:why=none", true),
            ("kwargs:n=8", false),
            ("\"AND\"", false),
        ] {
            let search = Search::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(search.matches(&task), expected, "{query}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (query, message) in [
            ("ab", "Substring search terms must contain at least 3 characters at position 0."),
            ("NOT abc", "NOT is not supported at position 0."),
            ("-abc", "Negation with '-' is not supported at position 0."),
            ("abc OR", "OR must be followed by a search term at position 4."),
            ("(abc", "Missing closing parenthesis at position 0."),
            ("abc )", "Unexpected ')' at position 4."),
            ("()", "Empty group at position 0."),
            ("\"abc", "Unterminated quoted phrase at position 0."),
            ("name:", "Search qualifier requires a value at position 0."),
            ("((((((abc))))))", "Query nesting exceeds 5 levels at position 5."),
            ("AND", "Expected a search term at position 0."),
        ] {
            let error = Search::parse(query).expect_err(query);
            assert_eq!(error.to_string(), message, "{query}");
        }
        assert!(Search::parse(&"abc ".repeat(200)).is_err());
        assert!(Search::parse(&"a".repeat(3000)).is_err());
    }
}
