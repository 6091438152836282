//! A webhook's body: never a panic, and what is read is what another reader of JSON sees.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::record::{DOCUMENTED_FIELDS, PancakeRecord, RecordError};
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    let text = std::str::from_utf8(body);
    let is_json = text.is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    let is_object = is_json && body.trim_ascii_start().starts_with(b"{");
    let record = match PancakeRecord::parse(body) {
        Ok(record) => record,
        Err(cause) => {
            match cause {
                RecordError::NotUtf8 => assert!(text.is_err()),
                RecordError::NotJson => assert!(text.is_ok() && !is_json),
                RecordError::NotAnObject => assert!(is_json && !is_object),
                RecordError::IdNotAUuid => assert!(is_object),
            }
            return;
        }
    };
    assert!(is_object);
    let memory = body.as_ptr_range();
    let names: Vec<&str> = record.custom_fields().map(|(name, _)| name).collect();
    for name in names.into_iter().chain(DOCUMENTED_FIELDS) {
        assert!(!name.contains('\0'));
        let Some(field) = record.field(name) else {
            continue;
        };
        assert!(memory.contains(&field.get().as_ptr()));
        if let Ok(expected) = serde_json::from_str::<String>(field.get()) {
            assert_eq!(record.text(name), Some(expected.replace('\0', "\u{fffd}")));
        }
        if let Some(text) = record.text(name) {
            assert!(field.get().starts_with('"') && !text.contains('\0'));
        }
        if let Some(moment) = record.timestamp(name) {
            let year = moment.to_string();
            // 0001 to 9999: jiff writes any other with a sign, but for the year 0.
            assert!(
                year.as_bytes()[4] == b'-' && !year.starts_with("0000"),
                "{year}"
            );
        }
        for id in record.ids(name) {
            assert!(field.get().starts_with('[') && !id.contains('\0'));
        }
    }
});
