//! Whole numbers of more than 64 bits, which Python writes and a [`Value`] cannot hold: they are carried as
//! they are, by a stand-in, and never rounded.
//!
//! The stand-in of `N` is the object `{"$tradewind::wide": "N"}`. It exists in memory only: [`super::parse_json`]
//! makes it, [`to_json`] undoes it, [`from_value`] gives the number to whoever asks for one.

use std::borrow::Cow;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// The one member of a stand-in.
const NAME: &str = "$tradewind::wide";
/// How a stand-in begins in JSON text. No text has this: a quote inside one is escaped.
const OPEN: &[u8] = b"{\"$tradewind::wide\":\"";
const CLOSE: &[u8] = b"\"}";
/// So many digits fit 64 bits whatever they are.
const DIGITS_SAFE: usize = 18;
/// How serde_json asks for JSON text as it is (`RawValue`).
const RAW: &str = "$serde_json::private::RawValue";

/// The digits that a value stands in for, with their sign.
pub fn digits(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let text = members.get(NAME)?.as_str()?;
    is_whole(text.as_bytes()).then_some(text)
}

/// Whether a number of more than 64 bits is somewhere in a value.
pub fn is_in(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_in),
        Value::Object(members) => digits(value).is_some() || members.values().any(is_in),
        _ => false,
    }
}

/// JSON text with a stand-in for each number of more than 64 bits.
pub fn stand_in(text: &[u8]) -> Cow<'_, [u8]> {
    let (mut out, mut copied) = (Vec::new(), 0);
    outside_strings(text, |at| {
        if !matches!(text[at], b'-' | b'0'..=b'9') {
            return 1;
        }
        let part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let length = 1 + text[at + 1..].iter().take_while(part).count();
        let number = &text[at..at + length];
        if length > DIGITS_SAFE && is_wide(number) {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(OPEN);
            out.extend_from_slice(number);
            out.extend_from_slice(CLOSE);
            copied = at + length;
        }
        length
    });
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// JSON text of a value, with its numbers as they are.
///
/// # Errors
/// As serde_json: a map with keys that are no texts, a value that refuses.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    Ok(restore(serde_json::to_vec(value)?))
}

/// The same as text. A [`Value`] always has one.
pub fn to_json(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(NAME) {
        return plain;
    }
    String::from_utf8(restore(plain.into_bytes())).unwrap_or_default()
}

/// A value out of strict JSON text, with stand-ins where they are needed.
///
/// # Errors
/// As serde_json.
pub fn from_slice(text: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(&stand_in(text))
}

/// A handler's result, or any other value, as a [`Value`] that has stand-ins where they are needed.
///
/// # Errors
/// As [`to_vec`].
pub fn to_value(value: &impl Serialize) -> Result<Value, Error> {
    let plain = serde_json::to_value(value);
    // JSON text inside it (`RawValue`) may have had a number that became a float.
    if plain.as_ref().is_ok_and(|plain| !has_float(plain)) {
        return plain;
    }
    // Nested deeper than the parser goes: no text of others, so no number of others.
    serde_json::to_vec(value).and_then(|text| from_slice(&text)).or(plain)
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(members) => members.values().any(has_float),
        _ => false,
    }
}

/// Reads a type out of a value. `i128`, `u128`, floats and `RawValue` take numbers of more than 64 bits;
/// every other type refuses them.
///
/// # Errors
/// As serde_json.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    if is_in(value) { T::deserialize(Exact(value)) } else { T::deserialize(value) }
}

/// A deserializer for one part of a value, as [`from_value`] uses it.
///
/// # Errors
/// Those of the seed.
pub fn seed<'de, S: DeserializeSeed<'de>>(seed: S, value: &'de Value) -> Result<S::Value, Error> {
    if is_in(value) { seed.deserialize(Exact(value)) } else { seed.deserialize(value) }
}

/// Calls `see` with each position outside string literals; it says how many bytes it has dealt with.
pub(super) fn outside_strings(body: &[u8], mut see: impl FnMut(usize) -> usize) {
    let mut at = 0;
    while at < body.len() {
        if body[at] != b'"' {
            at += see(at);
            continue;
        }
        at += 1;
        while at < body.len() && body[at] != b'"' {
            at += if body[at] == b'\\' { 2 } else { 1 };
        }
        at += 1;
    }
}

fn restore(text: Vec<u8>) -> Vec<u8> {
    let (mut out, mut copied, mut from) = (Vec::new(), 0, 0);
    while let Some(at) = find(&text[from..]).map(|at| from + at) {
        let digits = at + OPEN.len();
        let Some(length) = text[digits..].iter().position(|byte| *byte == b'"') else { break };
        let end = digits + length;
        from = digits;
        if is_whole(&text[digits..end]) && text[end..].starts_with(CLOSE) {
            out.extend_from_slice(&text[copied..at]);
            out.extend_from_slice(&text[digits..end]);
            copied = end + CLOSE.len();
            from = copied;
        }
    }
    if copied == 0 {
        return text;
    }
    out.extend_from_slice(&text[copied..]);
    out
}

fn find(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // Hardly any text has this sign.
        let sign = from + text[from..].iter().position(|byte| *byte == b'$')?;
        let start = sign.checked_sub(2);
        if let Some(start) = start.filter(|start| text[*start..].starts_with(OPEN)) {
            return Some(start);
        }
        from = sign + 1;
    }
}

/// A whole number as JSON has it.
fn is_whole(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits[0] != b'0')
}

fn is_wide(number: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(number).ok().filter(|_| is_whole(number)) else {
        return false;
    };
    text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
}

/// Reads out of a value that has stand-ins.
struct Exact<'de>(&'de Value);

fn number<'de, V: Visitor<'de>>(digits: &str, visitor: V) -> Result<V::Value, Error> {
    let read = match (digits.parse::<u128>(), digits.parse::<i128>()) {
        (Ok(number), _) => visitor.visit_u128(number),
        (_, Ok(number)) => visitor.visit_i128(number),
        _ => Err(de::Error::custom("it has more than 128 bits")),
    };
    read.map_err(|error: Error| {
        de::Error::custom(format!(
            "{error} (a whole number of more than 64 bits: take an i128, a u128 or a Box<RawValue>)"
        ))
    })
}

impl<'de> de::Deserializer<'de> for Exact<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.0, digits(self.0)) {
            (_, Some(digits)) => number(digits, visitor),
            (Value::Array(items), _) => visitor.visit_seq(Items(items.iter())),
            (Value::Object(members), _) => {
                visitor.visit_map(Members { rest: members.iter(), value: None })
            }
            (plain, _) => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match digits(self.0).and_then(|digits| digits.parse().ok()) {
            Some(number) => visitor.visit_f64(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW {
            let text = to_json(self.0);
            let mut reader = serde_json::Deserializer::from_reader(text.as_bytes());
            return de::Deserializer::deserialize_newtype_struct(&mut reader, name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => {
                let members = Members { rest: members.iter(), value: None };
                visitor.visit_enum(de::value::MapAccessDeserializer::new(members))
            }
            plain => plain.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier
    }
}

struct Items<'de>(std::slice::Iter<'de, Value>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Exact(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Members<'de> {
    rest: serde_json::map::Iter<'de>,
    value: Option<&'de Value>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(de::value::StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("no value at hand"))?;
        seed.deserialize(Exact(value))
    }
}

#[cfg(test)]
mod tests;
