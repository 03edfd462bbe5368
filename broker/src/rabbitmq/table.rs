//! JSON headers ↔ AMQP field tables.
//!
//! Written as py-amqp writes them: text `S`, booleans `t`, integers `I` or `l`, floats `d`, null `V`,
//! lists `A`, maps `F`. Read: every type that RabbitMQ knows. Times become seconds since 1970,
//! decimals floats, bytes text (invalid UTF-8 replaced).

use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use serde_json::{Map, Number, Value};
use tradewind_proto::headers::Headers;

use super::link::refused;
use crate::Error;

/// A short string, or a refusal that names the field.
pub(crate) fn short(field: &str, text: &str) -> Result<ShortString, Error> {
    ShortString::try_new(text).map_err(|_| {
        refused("publishing", format!("{field} has {} bytes; AMQP allows 255", text.len()))
    })
}

pub(crate) fn to_table<'a>(
    members: impl Iterator<Item = (&'a str, &'a Value)>,
) -> Result<FieldTable, Error> {
    let mut table = FieldTable::default();
    for (name, value) in members {
        table.insert(short("a header's name", name)?, to_amqp(value)?);
    }
    Ok(table)
}

fn to_amqp(value: &Value) -> Result<AMQPValue, Error> {
    Ok(match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::Number(number) => number_to_amqp(number),
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(items) => {
            let mut array = FieldArray::default();
            for item in items {
                array.push(to_amqp(item)?);
            }
            AMQPValue::FieldArray(array)
        }
        Value::Object(map) => {
            AMQPValue::FieldTable(to_table(map.iter().map(|(name, value)| (name.as_str(), value)))?)
        }
    })
}

fn number_to_amqp(number: &Number) -> AMQPValue {
    match number.as_i64() {
        Some(int) => i32::try_from(int).map_or(AMQPValue::LongLongInt(int), AMQPValue::LongInt),
        // Over 2^63: no type that every client reads, so it loses digits like any JSON double.
        None => AMQPValue::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

pub(super) fn to_headers(table: &FieldTable) -> Headers {
    let entries = table.inner().iter();
    Headers::of_table(entries.map(|(name, value)| (name.as_str(), to_json(value))))
}

fn to_map(table: &FieldTable) -> Map<String, Value> {
    let entries = table.inner().iter();
    entries.map(|(name, value)| (name.as_str().to_owned(), to_json(value))).collect()
}

pub(super) fn to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(flag) => Value::Bool(*flag),
        AMQPValue::ShortShortInt(int) => Value::from(*int),
        AMQPValue::ShortShortUInt(int) => Value::from(*int),
        AMQPValue::ShortInt(int) => Value::from(*int),
        AMQPValue::ShortUInt(int) => Value::from(*int),
        AMQPValue::LongInt(int) => Value::from(*int),
        AMQPValue::LongUInt(int) => Value::from(*int),
        AMQPValue::LongLongInt(int) => Value::from(*int),
        AMQPValue::Timestamp(seconds) => Value::from(*seconds),
        AMQPValue::Float(float) => Value::from(*float),
        AMQPValue::Double(float) => Value::from(*float),
        AMQPValue::DecimalValue(decimal) => {
            Value::from(f64::from(decimal.value) / 10_f64.powi(i32::from(decimal.scale)))
        }
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Value::from(String::from_utf8_lossy(bytes.as_slice())),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(to_json).collect(),
        AMQPValue::FieldTable(table) => Value::Object(to_map(table)),
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::DecimalValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_back_as_it_went() {
        let headers = json!({
            "text": "grüße 🎈", "int": 1, "long": 5_000_000_000_i64, "negative": -7,
            "float": 1.5, "null": null, "flag": true,
            "nested": {"list": [1, "a", null, {"deep": []}], "empty": {}},
        });
        let Value::Object(map) = headers else { panic!("an object") };
        let headers = Headers::from(map);
        assert_eq!(to_headers(&to_table(headers.iter()).expect("table")), headers);
    }

    #[test]
    fn every_type_of_other_clients_is_read() {
        let cases = [
            (AMQPValue::ShortShortInt(-1), json!(-1)),
            (AMQPValue::ShortShortUInt(200), json!(200)),
            (AMQPValue::ShortInt(-2), json!(-2)),
            (AMQPValue::ShortUInt(60_000), json!(60_000)),
            (AMQPValue::LongUInt(4_000_000_000), json!(4_000_000_000_u32)),
            (AMQPValue::Float(0.5), json!(0.5)),
            (AMQPValue::Timestamp(1_700_000_000), json!(1_700_000_000)),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 1234 }), json!(12.34)),
            (AMQPValue::ByteArray(b"bytes".to_vec().into()), json!("bytes")),
        ];
        for (value, expected) in cases {
            assert_eq!(to_json(&value), expected);
        }
    }

    #[test]
    fn a_name_over_255_bytes_is_refused() {
        let headers = Headers::from_iter([("x".repeat(256), Value::Null)]);
        assert!(matches!(to_table(headers.iter()), Err(Error::Refused { .. })));
    }
}
