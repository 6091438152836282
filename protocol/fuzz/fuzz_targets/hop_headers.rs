//! A hop as a core receives it: never a panic, and nothing believed without the key.
//! Lines: the eight headers ("-" is absent), method, path, query, body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::UnixSeconds;
use protocol::hop::{
    HopKey, HopKeys, ReceivedHeaders, Target, is_hop_header, verify_proxied, verify_record,
};

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(12, '\n');
    let mut header = || lines.next().filter(|value| *value != "-");
    let headers = ReceivedHeaders {
        country: header(),
        region: header(),
        connection: header(),
        verdict: header(),
        route_version: header(),
        content_digest: header(),
        signature_input: header(),
        signature: header(),
    };
    let target = Target {
        method: lines.next().unwrap_or("POST"),
        path: lines.next().unwrap_or("/v1/pancake/vn-main/records"),
        query: lines.next(),
    };
    let body = lines.next().unwrap_or_default().as_bytes();
    let key = HopKey::new("asia-1", b"a secret that the fuzzer does not know").unwrap();
    let keys = HopKeys::new(vec![key]).unwrap();

    // The second that `created` names, if it is there, so that more than the time is judged.
    let created = headers
        .signature_input
        .and_then(|input| input.split_once(";created="))
        .and_then(|(_, rest)| rest.split(';').next()?.parse().ok());
    let now = UnixSeconds(created.unwrap_or(1_767_225_600));
    let record = verify_record(&keys, target, headers, body, now).unwrap_err();
    let proxied = verify_proxied(&keys, target, headers, now).unwrap_err();
    for refusal in [record, proxied] {
        // The texts are fixed: they go into logs and metrics.
        assert!(
            refusal
                .to_string()
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase())
        );
    }
    for name in input.lines() {
        let lower = name.to_ascii_lowercase();
        let expected =
            lower.starts_with("x-smp-") || lower == "signature" || lower == "signature-input";
        assert_eq!(is_hop_header(name), expected);
    }
});
