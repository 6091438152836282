//! Pancake's record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::record::{DOCUMENTED_FIELDS, PancakeRecord, RecordError};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    file: String,
    expected: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// In microseconds since 1970.
    #[serde(default)]
    modified_on: Option<i64>,
    #[serde(default)]
    source: Vec<String>,
    #[serde(default)]
    custom: Vec<String>,
}

/// A lone surrogate is judged by a test of its own; here it only has to be U+FFFD at all.
fn with_single_replacements(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("\u{fffd}\u{fffd}") {
        text = text.replace("\u{fffd}\u{fffd}", "\u{fffd}");
    }
    text
}

#[test]
fn every_fixture_is_read_as_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/records");
    let fixtures: Vec<Fixture> =
        serde_json::from_str(include_str!("../vectors/records.json")).unwrap();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let file = &fixture.file;
        let body = fs::read(directory.join(file)).unwrap();
        let record = match PancakeRecord::parse(&body) {
            Ok(record) => record,
            Err(cause) => {
                if cause.to_string() != fixture.expected {
                    wrong.push(format!("{file}: {cause}, not {}", fixture.expected));
                }
                continue;
            }
        };
        let mut check = |what: &str, got: String, expected: String| {
            if got != expected {
                wrong.push(format!("{file}: {what} {got}, not {expected}"));
            }
        };
        check("is", "record".to_owned(), fixture.expected.clone());
        let id = record.id().map(|id| id.to_string());
        check("id", format!("{id:?}"), format!("{:?}", fixture.id));
        let name = record.text("name");
        let name = name.as_deref().map(with_single_replacements);
        check("name", format!("{name:?}"), format!("{:?}", fixture.name));
        let modified_on = record.timestamp("modified_on");
        check(
            "modified_on",
            format!("{:?}", modified_on.map(jiff::Timestamp::as_microsecond)),
            format!("{:?}", fixture.modified_on),
        );
        let source: Vec<_> = record.ids("source");
        let source: Vec<_> = source
            .iter()
            .map(|id| with_single_replacements(id))
            .collect();
        check(
            "source",
            format!("{source:?}"),
            format!("{:?}", fixture.source),
        );
        let custom: Vec<_> = record
            .custom_fields()
            .map(|(name, _)| with_single_replacements(name))
            .collect();
        check(
            "custom",
            format!("{custom:?}"),
            format!("{:?}", fixture.custom),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::read_dir(directory).unwrap().count(), fixtures.len());
}

#[test]
fn every_cause_has_a_fixture() {
    let fixtures: Vec<Fixture> =
        serde_json::from_str(include_str!("../vectors/records.json")).unwrap();
    for cause in [
        RecordError::NotUtf8,
        RecordError::NotJson,
        RecordError::NotAnObject,
        RecordError::IdNotAUuid,
    ] {
        let cause = cause.to_string();
        assert!(fixtures.iter().any(|fixture| fixture.expected == cause));
    }
}

#[test]
fn a_field_of_a_mebibyte_of_brackets_is_kept_as_it_came() {
    let depth = protocol::BODY_LIMIT_BYTES / 2 - 20;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = depth / open.len().max(1);
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let body = format!("{{\"x\":{value}}}");
        let record = PancakeRecord::parse(body.as_bytes()).unwrap();
        assert_eq!(record.field("x").unwrap().get(), value);
        assert_eq!(record.text("x"), None);
        assert_eq!(record.timestamp("x"), None);
        let ids = record.ids("x");
        assert!(ids.is_empty());
    }
}

#[test]
fn a_mebibyte_of_fields_is_read() {
    let mut body = String::from("{\"id\":null");
    while body.len() + 20 < protocol::BODY_LIMIT_BYTES {
        body += ",\"a\":1";
    }
    body += ",\"name\":\"An\"}";
    let record = PancakeRecord::parse(body.as_bytes()).unwrap();
    assert_eq!(record.text("name").as_deref(), Some("An"));
}

#[test]
fn a_control_character_in_a_key_is_not_json() {
    // RFC 8259 §7: U+0000 to U+001F are escaped. PostgreSQL refuses such a body, as jsonb and,
    // with U+0000, even as text.
    for control in ['\0', '\x01', '\t', '\n', '\x1f'] {
        let value = format!("{{\"name\":\"a{control}b\"}}");
        let refused = PancakeRecord::parse(value.as_bytes()).unwrap_err();
        assert_eq!(refused, RecordError::NotJson, "{value:?}");
        let key = format!("{{\"a{control}b\":1}}");
        let refused = PancakeRecord::parse(key.as_bytes()).err();
        assert_eq!(refused, Some(RecordError::NotJson), "{key:?}");
    }
}

#[test]
fn a_custom_field_that_is_there_twice_is_given_twice_and_read_by_its_last() {
    let record = PancakeRecord::parse(br#"{"score":1,"name":"An","score":2}"#).unwrap();
    assert_eq!(record.field("score").unwrap().get(), "2");
    let custom: Vec<_> = record
        .custom_fields()
        .map(|(name, value)| (name, value.get()))
        .collect();
    assert_eq!(custom, [("score", "1"), ("score", "2")]);
}

#[test]
fn what_is_in_a_record_is_not_in_its_debug_output() {
    let record = PancakeRecord::parse(br#"{"name":"An","phone_number":"0901"}"#).unwrap();
    assert_eq!(format!("{record:?}"), "PancakeRecord(None, 2 fields)");
}

#[test]
fn a_zone_without_an_offset_is_no_moment() {
    assert_eq!(timestamp_of("2025-01-01T00:00:00[Asia/Ho_Chi_Minh]"), None);
    assert!(timestamp_of("2025-01-01T00:00:00+07:00[Asia/Ho_Chi_Minh]").is_some());
}

#[test]
fn a_whole_number_of_any_size_is_an_id() {
    let body = br#"{"source":[9223372036854775807,9223372036854775808,104943019063372110494301]}"#;
    let record = PancakeRecord::parse(body).unwrap();
    assert_eq!(
        record.ids("source"),
        [
            "9223372036854775807",
            "9223372036854775808",
            "104943019063372110494301"
        ]
    );
}

fn timestamp_of(written: &str) -> Option<i64> {
    let body = format!("{{\"t\":\"{written}\"}}");
    let record = PancakeRecord::parse(body.as_bytes()).unwrap();
    record.timestamp("t").map(jiff::Timestamp::as_microsecond)
}

#[test]
fn times_are_read_up_to_the_end_of_the_calendar() {
    // `date -u -d 9999-12-30T22:00:00Z +%s`
    let last = Some(253_402_207_200_000_000);
    assert_eq!(timestamp_of("9999-12-30T22:00:00Z"), last);
    assert_eq!(timestamp_of("9999-12-30T22:00:00"), last);
    assert_eq!(timestamp_of("9999-12-31T23:59:59Z"), None);
}

#[test]
fn an_offset_is_never_left_out_of_account() {
    // Two hours behind UTC: 21:00 is 23:00Z, `date -u -d 9999-12-30T23:00:00Z +%s`. To read it as
    // nothing would be poor, to read it as 21:00Z is wrong.
    let moment = timestamp_of("9999-12-30T21:00:00-02:00");
    assert!(
        moment.is_none_or(|moment| moment == 253_402_210_800_000_000),
        "{moment:?}"
    );
}

#[test]
fn years_before_1_are_not_read() {
    assert_eq!(
        timestamp_of("0001-01-01T00:00:00Z"),
        Some(-62_135_596_800_000_000)
    );
    assert_eq!(timestamp_of("0001-01-01T00:00:00+00:01"), None);
    assert_eq!(timestamp_of("0000-12-31T23:59:59.999999Z"), None);
}

#[test]
fn no_field_that_is_documented_is_a_custom_field() {
    let members: Vec<_> = DOCUMENTED_FIELDS
        .iter()
        .map(|name| format!("\"{name}\":null"))
        .collect();
    let body = format!("{{{},\"mine\":1}}", members.join(","));
    let record = PancakeRecord::parse(body.as_bytes()).unwrap();
    let custom: Vec<_> = record.custom_fields().map(|(name, _)| name).collect();
    assert_eq!(custom, ["mine"]);
}

/// Text of a JSON value, in spellings that no serializer would write.
fn raw_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,4})?",
        string(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..4), space()).prop_map(|(values, space)| format!(
                "[{space}{}{space}]",
                values.join(&format!("{space},"))
            )),
            (vec((string(), inner), 0..4), space()).prop_map(|(members, space)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("{key}{space}:{space}{value}"))
                    .collect();
                format!("{{{}{space}}}", members.join(","))
            }),
        ]
    })
}

/// Text of a JSON string with any escapes.
fn string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[^\\pC\"\\\\]{1,4}",
        "\\\\u[0-9a-fA-F]{4}",
        "\\\\u[dD][89a-fA-F][0-9a-f]{2}",
        "\\\\[\"\\\\/bfnrt]",
    ];
    vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// Days since 1970-01-01, counted year by year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Leap years before a year, from year 1 on.
    let leaps = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let elapsed: i64 = months
        .iter()
        .take(usize::try_from(month - 1).unwrap())
        .sum();
    (year - 1970) * 365 + leaps(year) - leaps(1970) + elapsed + day - 1
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in vec(any::<u8>(), 0..300), text in "\\PC{0,100}") {
        for body in [body, text.clone().into_bytes(), format!("{{\"id\":{text}}}").into_bytes()] {
            if let Ok(record) = PancakeRecord::parse(&body) {
                for name in DOCUMENTED_FIELDS {
                    let _ = (record.text(name), record.timestamp(name), record.ids(name));
                }
            }
        }
    }

    #[test]
    fn a_damaged_record_never_panics(
        position in any::<prop::sample::Index>(),
        byte: u8,
        cut: bool,
    ) {
        let body = include_bytes!("../vectors/records/vietnamese.json");
        let mut damaged = body.to_vec();
        let position = position.index(damaged.len());
        damaged[position] = byte;
        if cut {
            damaged.truncate(position);
        }
        if let Ok(record) = PancakeRecord::parse(&damaged) {
            for (name, _) in record.custom_fields() {
                let _ = (record.text(name), record.timestamp(name), record.ids(name));
            }
        }
    }

    #[test]
    fn a_field_is_exactly_the_bytes_of_the_body(
        members in vec(("[a-zà-ỹ_]{0,6}", raw_value()), 0..8),
        space in space(),
    ) {
        let mut body = format!("{space}{{");
        let mut last = BTreeMap::new();
        for (index, (name, value)) in members.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(body, "{comma}{space}\"{name}\"{space}:{space}").unwrap();
            last.insert(name, (body.len(), value));
            write!(body, "{value}{space}").unwrap();
        }
        write!(body, "}}{space}").unwrap();
        prop_assume!(!last.contains_key(&"id".to_owned()));
        let record = PancakeRecord::parse(body.as_bytes()).unwrap();
        for (name, (offset, value)) in last {
            let field = record.field(name).unwrap().get();
            prop_assert_eq!(field, value);
            prop_assert_eq!(field.as_ptr(), body[offset..].as_ptr());
        }
        prop_assert!(record.field("not there").is_none());
    }

    #[test]
    fn a_text_has_nothing_that_a_database_refuses(text in string()) {
        let body = format!("{{\"name\":{text},{text}:1,\"source\":[{text}]}}");
        let record = PancakeRecord::parse(body.as_bytes());
        prop_assume!(record.is_ok());
        let record = record.unwrap();
        let names = record.custom_fields().map(|(name, _)| name.to_owned());
        let texts = names.chain(record.text("name")).chain(record.ids("source"));
        for text in texts {
            prop_assert!(!text.contains('\0'));
        }
        // Where another reader takes the text too, it is the same.
        if let Ok(expected) = serde_json::from_str::<String>(&text) {
            let expected = expected.replace('\0', "\u{fffd}");
            prop_assert_eq!(record.ids("source"), [expected]);
        }
    }

    #[test]
    fn a_time_is_the_moment_that_counting_gives(
        (year, month, day) in (1_i64..=9998, 1_i64..=12, 1_i64..=28),
        (hour, minute, second, micros) in (0_i64..24, 0_i64..60, 0_i64..60, 0_i64..1_000_000),
        offset in prop::option::of(-1439_i64..=1439),
        separator in "[ T]",
    ) {
        let written = match offset {
            None => String::new(),
            Some(0) => "Z".to_owned(),
            Some(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
            }
        };
        let time = format!("{hour:02}:{minute:02}:{second:02}.{micros:06}");
        let written = format!("{year:04}-{month:02}-{day:02}{separator}{time}{written}");
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
            - offset.unwrap_or(0) * 60;
        let is_in_range = seconds >= -62_135_596_800;
        let expected = is_in_range.then_some(seconds * 1_000_000 + micros);
        prop_assert_eq!(timestamp_of(&written), expected, "{}", written);
    }

    #[test]
    fn an_id_is_read_in_either_case_with_hyphens_only(
        id in "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        position in 0..36_usize,
        replacement in "[g-z{} :\u{e9}]",
    ) {
        let parse = |id: &str| {
            let body = format!("{{\"id\":\"{id}\"}}");
            PancakeRecord::parse(body.as_bytes()).map(|record| record.id())
        };
        let read = parse(&id).unwrap().unwrap();
        prop_assert_eq!(read.to_string(), id.to_ascii_lowercase());
        let mut damaged = id.clone();
        damaged.replace_range(position..=position, &replacement);
        prop_assert_eq!(parse(&damaged), Err(RecordError::IdNotAUuid));
        prop_assert_eq!(parse(&id.replace('-', "")), Err(RecordError::IdNotAUuid));
    }
}
