//! Wide numbers go through unchanged, and to nobody who would round them.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::parse_json;
use super::*;

const WIDE: &str = "-170141183460469231731687303715884105729";
const TEXT: &str = r#"[18446744073709551616,{"n":[-9223372036854775809,18446744073709551615,1.5]},"12345678901234567890123","\"18446744073709551616"]"#;

fn parsed(text: &str) -> Value {
    parse_json(text.as_bytes()).expect(text)
}

#[test]
fn texts_come_out_as_they_went_in() {
    let value = parsed(TEXT);
    assert_eq!(digits(&value[0]), Some("18446744073709551616"));
    assert_eq!(digits(&value[1]["n"][0]), Some("-9223372036854775809"));
    assert_eq!((value[1]["n"][1].as_u64(), value[2].is_string()), (Some(u64::MAX), true));
    assert!(is_in(&value) && !is_in(&json!([1, {"a": "b"}])));
    assert_eq!(to_json(&value), TEXT);
    assert_eq!(to_vec(&(&value, 1)).expect("text"), format!("[{TEXT},1]").into_bytes());
    // What is no number stays what it is.
    for bad in ["[018446744073709551616]", "[18446744073709551616-1]", "[--18446744073709551616]"] {
        assert!(parse_json(bad.as_bytes()).is_err(), "{bad}");
    }
    let object = json!({"$tradewind::wide": "12 }"});
    assert_eq!(to_json(&object), r#"{"$tradewind::wide":"12 }"}"#);
    assert_eq!(
        to_json(&json!("{\"$tradewind::wide\":\"1\"}")),
        r#""{\"$tradewind::wide\":\"1\"}""#
    );
}

#[test]
fn who_can_hold_the_number_gets_it() {
    let value = parsed("[18446744073709551616, -9223372036854775809]");
    assert_eq!(from_value::<(u128, i128)>(&value).ok(), Some((1 << 64, -(1 << 63) - 1)));
    assert_eq!(from_value::<(f64, f64)>(&value).ok(), Some((2_f64.powi(64), -(2_f64.powi(63)))));
    let raw: Vec<Box<RawValue>> = from_value(&parsed(&format!("[{WIDE}, [{WIDE}]]"))).expect("raw");
    assert_eq!((raw[0].get(), raw[1].get()), (WIDE, &*format!("[{WIDE}]")));

    #[derive(Debug, PartialEq, Deserialize)]
    enum Shape {
        Sum { of: Option<i128>, by: String },
    }
    let shape = parsed(r#"{"Sum": {"of": 18446744073709551616, "by": "x"}}"#);
    let expected = Shape::Sum { of: Some(1 << 64), by: "x".to_owned() };
    assert_eq!(from_value::<Shape>(&shape).expect("a shape"), expected);
}

#[test]
fn who_cannot_refuses_it_and_says_what_can() {
    let value = parsed("[18446744073709551616]");
    for error in [
        from_value::<(i64,)>(&value).map(drop),
        from_value::<(u64,)>(&value).map(drop),
        from_value::<(Value,)>(&value).map(drop),
        from_value::<(String,)>(&value).map(drop),
    ] {
        let error = error.expect_err("a refusal").to_string();
        assert!(error.contains("Box<RawValue>"), "{error}");
    }
    let error = from_value::<(i128,)>(&parsed(&format!("[{WIDE}]"))).expect_err("a refusal");
    assert!(error.to_string().contains("128 bits"), "{error}");
}

#[test]
fn results_are_kept_too() {
    let raw = RawValue::from_string(WIDE.to_owned()).expect("JSON");
    let value = to_value(&(u128::MAX, raw, "x", 0.1)).expect("a value");
    assert_eq!(to_json(&value), format!("[{},{WIDE},\"x\",0.1]", u128::MAX));
}
