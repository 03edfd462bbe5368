//! Arguments as Celery sends them, positional and by keyword, as one serde value.
//!
//! A struct takes positional arguments by the order of its fields and keywords by their names, as a Python
//! function would; a tuple takes positional ones; `()` takes none.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};
use tradewind_proto::celery::wide;

/// What Python would call a `TypeError`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArgsError(pub(crate) String);

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArgsError {}

impl de::Error for ArgsError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl From<serde_json::Error> for ArgsError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the arguments of a call.
pub(crate) fn read<A: DeserializeOwned>(
    args: &[Value],
    kwargs: &Map<String, Value>,
) -> Result<A, ArgsError> {
    A::deserialize(Arguments { args, kwargs })
}

/// Names of what a handler takes: the fields of a struct, in order; nothing else has names.
pub(crate) fn parameters<A: DeserializeOwned>() -> &'static [&'static str] {
    let fields = Cell::new(&[][..]);
    // It always fails: no value is read.
    let _refused = A::deserialize(Fields(&fields)).is_err();
    fields.get()
}

/// Looks at what a type asks for.
struct Fields<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> de::Deserializer<'de> for Fields<'_> {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ArgsError> {
        Err(ArgsError("nothing is read".to_owned()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        self.0.set(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Arguments<'a> {
    args: &'a [Value],
    kwargs: &'a Map<String, Value>,
}

impl Arguments<'_> {
    fn no_keywords(&self) -> Result<(), ArgsError> {
        match self.kwargs.keys().next() {
            Some(name) => Err(ArgsError(format!("got an unexpected keyword argument {name:?}"))),
            None => Ok(()),
        }
    }

    fn expect(&self, takes: usize) -> Result<(), ArgsError> {
        self.no_keywords()?;
        let given = self.args.len();
        if given == takes {
            return Ok(());
        }
        Err(ArgsError(format!("takes {takes} positional arguments but {given} were given")))
    }
}

impl<'de> de::Deserializer<'de> for Arguments<'de> {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        if self.kwargs.is_empty() {
            self.deserialize_seq(visitor)
        } else {
            self.deserialize_map(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        if self.args.len() > fields.len() {
            let (takes, given) = (fields.len(), self.args.len());
            return Err(ArgsError(format!(
                "takes {takes} positional arguments but {given} were given"
            )));
        }
        if let Some(name) = self.kwargs.keys().find(|name| !fields.contains(&name.as_str())) {
            return Err(ArgsError(format!("got an unexpected keyword argument {name:?}")));
        }
        let twice = fields.iter().take(self.args.len()).find(|f| self.kwargs.contains_key(**f));
        if let Some(name) = twice {
            return Err(ArgsError(format!("got multiple values for argument {name:?}")));
        }
        let positional = fields.iter().copied().zip(self.args);
        let named = self.kwargs.iter().map(|(name, value)| (name.as_str(), value));
        visitor.visit_map(Named { entries: positional.chain(named), value: None })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        if !self.args.is_empty() {
            let given = self.args.len();
            return Err(ArgsError(format!("takes 0 positional arguments but {given} were given")));
        }
        let entries = self.kwargs.iter().map(|(name, value)| (name.as_str(), value));
        visitor.visit_map(Named { entries, value: None })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        self.expect(len)?;
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        self.no_keywords()?;
        visitor.visit_seq(Positional { items: self.args.iter(), position: 0 })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        self.expect(0)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        enum identifier
    }
}

struct Named<'a, I> {
    entries: I,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de, I: Iterator<Item = (&'de str, &'de Value)>> MapAccess<'de> for Named<'de, I> {
    type Error = ArgsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ArgsError> {
        self.value = self.entries.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ArgsError> {
        let Some((name, value)) = self.value.take() else {
            return Err(ArgsError("no argument at hand".to_owned()));
        };
        wide::seed(seed, value).map_err(|error| ArgsError(format!("argument {name:?}: {error}")))
    }
}

struct Positional<'a> {
    items: std::slice::Iter<'a, Value>,
    position: usize,
}

impl<'de> SeqAccess<'de> for Positional<'de> {
    type Error = ArgsError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ArgsError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        self.position += 1;
        let named = |error| ArgsError(format!("argument {}: {error}", self.position));
        wide::seed(seed, value).map(Some).map_err(named)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::{parameters, read};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Mail {
        to: String,
        #[serde(default)]
        copies: u32,
        subject: Option<String>,
    }

    fn of<A: DeserializeOwned>(args: &Value, kwargs: &Value) -> Result<A, String> {
        let args = args.as_array().expect("array");
        read(args, kwargs.as_object().expect("object")).map_err(|error| error.0)
    }

    fn mail(copies: u32, subject: Option<&str>) -> Mail {
        Mail { to: "a@b".to_owned(), copies, subject: subject.map(str::to_owned) }
    }

    #[test]
    fn a_struct_takes_both_kinds_as_a_python_function_would() {
        assert_eq!(of(&json!(["a@b"]), &json!({})), Ok(mail(0, None)));
        assert_eq!(of(&json!(["a@b", 2]), &json!({"subject": "x"})), Ok(mail(2, Some("x"))));
        assert_eq!(of(&json!([]), &json!({"to": "a@b", "subject": null})), Ok(mail(0, None)));
    }

    #[test]
    fn the_fields_of_a_struct_are_its_parameters() {
        #[derive(Deserialize)]
        #[expect(dead_code, reason = "it is never read")]
        struct Wrapped(Mail);
        assert_eq!(parameters::<Mail>(), ["to", "copies", "subject"]);
        assert_eq!(parameters::<Wrapped>(), parameters::<Mail>());
        assert!(parameters::<(i64, i64)>().is_empty() && parameters::<Value>().is_empty());
    }

    #[test]
    fn what_python_refuses_is_refused() {
        let refused = |args, kwargs| of::<Mail>(&args, &kwargs).expect_err("refused");
        assert!(refused(json!([]), json!({})).contains("missing field `to`"));
        assert!(refused(json!(["a", 1, "s", 4]), json!({})).contains("takes 3 positional"));
        assert!(refused(json!(["a"]), json!({"to": "b"})).contains("multiple values"));
        assert!(
            refused(json!(["a"]), json!({"cc": "b"}))
                .contains("unexpected keyword argument \"cc\"")
        );
        assert!(refused(json!(["a", "two"]), json!({})).contains("argument \"copies\""));
    }

    #[test]
    fn tuples_units_and_sequences_take_positional_arguments() {
        assert_eq!(of::<(i64, f64)>(&json!([1, 2]), &json!({})), Ok((1, 2.0)));
        assert_eq!(of::<(Option<i64>,)>(&json!([null]), &json!({})), Ok((None,)));
        assert_eq!(of::<()>(&json!([]), &json!({})), Ok(()));
        assert_eq!(of::<Vec<i64>>(&json!([1, 2, 3]), &json!({})), Ok(vec![1, 2, 3]));
        assert_eq!(
            of::<(Vec<Mail>,)>(&json!([[{"to": "a@b"}]]), &json!({})),
            Ok((vec![mail(0, None)],))
        );
        assert!(of::<(i64,)>(&json!([]), &json!({})).is_err());
        assert!(of::<()>(&json!([1]), &json!({})).is_err());
        assert!(of::<(i64,)>(&json!([1]), &json!({"x": 1})).is_err());
    }
}
