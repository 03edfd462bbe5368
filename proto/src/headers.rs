//! Headers of a message, in the order in which they were set.
//!
//! Every message has some twenty of them, most with names that all messages share: those cost no memory and
//! no hashing.

use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::limits::HEADERS_MAX;
use crate::names;

/// Room for what Celery and we send.
const USUAL: usize = 24;

type Name = Cow<'static, str>;

/// Names and values. No name is there twice. Finding one takes a look at each: they are few.
#[derive(Clone, Default)]
pub struct Headers(Vec<(Name, Value)>);

impl Headers {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// None yet, with room for those of a task message.
    pub fn for_task() -> Self {
        Self(Vec::with_capacity(USUAL))
    }

    /// Those of a table in which no name is there twice.
    pub fn of_table<'a>(table: impl Iterator<Item = (&'a str, Value)>) -> Self {
        Self(table.map(|(name, value)| (name_of(name), value)).collect())
    }

    /// A header.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).map(|place| &self.0[place].1)
    }

    /// Whether it is there, even as null.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Sets one; returns what it was before.
    pub fn insert(&mut self, name: impl Into<Name>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        if let Some(place) = self.place(&name) {
            return Some(std::mem::replace(&mut self.0[place].1, value));
        }
        self.0.push((name, value));
        None
    }

    /// Takes one away; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.place(name).map(|place| self.0.remove(place).1)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one that is not there yet, without looking.
    pub(crate) fn push(&mut self, name: Name, value: Value) {
        self.0.push((name, value));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == name)
    }
}

/// A header's name; one that many messages have is not copied.
fn name_of(name: &str) -> Name {
    known(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
}

macro_rules! known {
    ($($text:literal),*; $($constant:path),*) => {
        fn known(name: &str) -> Option<&'static str> {
            match name {
                $($text => Some($text),)*
                $($constant => Some($constant),)*
                _ => None,
            }
        }
    };
}

known!(
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit",
    "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting",
    "stamped_headers", "stamps", "compression", "redelivered", "hostname", "ticket", "clock";
    names::HEADER_SENT_AT, names::HEADER_TRACEPARENT, names::HEADER_SIGNATURE
);

impl Index<&str> for Headers {
    type Output = Value;

    /// A header, or null.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

/// Their order does not matter.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl IntoIterator for Headers {
    type Item = (Name, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Of one name that is there twice the last value counts.
impl<N: Into<Name>> FromIterator<(N, Value)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(all: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in all {
            headers.insert(name, value);
        }
        headers
    }
}

impl From<Map<String, Value>> for Headers {
    fn from(map: Map<String, Value>) -> Self {
        // Nothing is twice in a map.
        Self(map.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect())
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(All)
    }
}

struct All;

impl<'de> Visitor<'de> for All {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::for_task();
        while let Some(name) = members.next_key_seed(OneName)? {
            headers.insert(name, members.next_value::<Value>()?);
            if headers.len() > HEADERS_MAX {
                return Err(de::Error::custom(format_args!("more than {HEADERS_MAX} headers")));
            }
        }
        Ok(headers)
    }
}

struct OneName;

impl<'de> DeserializeSeed<'de> for OneName {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for OneName {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(name_of(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Headers, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn json_comes_back_as_it_went_and_in_order() {
        let text = r#"{"task":"a.b","tenant":{"x":[1]},"id":"7","eta":null,"r\u00fcck":1}"#;
        let headers = read(text).expect("headers");
        assert_eq!(serde_json::to_string(&headers).expect("json"), text.replace("\\u00fc", "ü"));
        assert_eq!((&headers["tenant"]["x"][0], &headers["none"]), (&json!(1), &Value::Null));
        assert!(headers.contains_key("eta") && !headers.contains_key("none"));
    }

    #[test]
    fn of_two_with_one_name_the_last_counts() {
        let mut headers = read(r#"{"id": 1, "tenant": 1, "id": 2, "tenant": 2}"#).expect("headers");
        assert_eq!(headers, Headers::from_iter([("tenant", json!(2)), ("id", json!(2))]));
        assert_eq!(headers.insert("id", 3), Some(json!(2)));
        assert_eq!((headers.remove("tenant"), headers.remove("tenant")), (Some(json!(2)), None));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn too_many_are_refused() {
        let many = |count: usize| Headers::from_iter((0..count).map(|n| (n.to_string(), json!(n))));
        let text = |count| serde_json::to_string(&many(count)).expect("json");
        assert_eq!(read(&text(HEADERS_MAX)).expect("headers").len(), HEADERS_MAX);
        let error = read(&text(HEADERS_MAX + 1)).expect_err("too many").to_string();
        assert!(error.contains(&format!("more than {HEADERS_MAX} headers")), "{error}");
    }
}
