//! What `entry.js` knows of Rust's without asking: fetched once by each instance, for each question costs a crossing, and
//! an instance that trapped answers none.

use protocol::record_status::{RECORD_STATUS, RecordStatus};
use protocol::sealed::RANDOMNESS_BYTES;
use protocol::signature::{BLOCK_BYTES, HASH_BYTES};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;
use crate::connections;
use crate::hot_path::{CONTENT_DIGEST_BYTES, HELD_BACK, SIGNATURE_BYTES, TEXT_MAX_BYTES, code_of};
use crate::metrics::METRICS_NAME;
use crate::spool::PUT_TIMEOUT_MS;

/// How long a core may take to answer a record, in milliseconds.
///
/// Pancake gives up after 5 s; what is left is for the way to us and back, and for the spool.
const CORE_TIMEOUT_MS: u32 = 3_000;

/// How long after the first that was counted it is told, in milliseconds: an isolate tells once a second.
const TELL_AFTER_MS: u32 = 1_000;

/// From this length on a body is hashed by the platform ([`crate::hot_path::judge_hashed`]), which has the processor's
/// own instructions for it: below, asking it costs more than hashing.
const HASHED_FROM_BYTES: usize = 4_096;

/// The answers that `entry.js` gives of its own.
const CODES: [(&str, Answer); 8] = [
    ("queued", Answer::Queued),
    ("tooManyRequests", Answer::TooManyRequests),
    ("methodNotAllowed", Answer::MethodNotAllowed),
    ("bodyTooLarge", Answer::BodyTooLarge),
    ("regionPaused", Answer::RegionPaused),
    ("coreFailing", Answer::CoreFailing),
    ("coreUnreachable", Answer::CoreUnreachable),
    ("coreTimedOut", Answer::CoreTimedOut),
];

/// All of it as JSON:
///
/// - `limits`: lengths in bytes, times in milliseconds, and the bit that says that a webhook goes to the spool at once;
/// - `kept`: the header by which a core says that it has kept a record, and the values that say so. An answer of 200
///   with one of these goes to the sender unread;
/// - `source`: where the connections are read ([`crate::connections`]);
/// - `metrics`: the name of the Durable Object that is told what is counted;
/// - `answers`: each answer, `{"status", "headers", "body", "cause"}`; that of a code n (which is negative) stands at
///   −1 − n;
/// - `codes`: the codes of some of them.
#[wasm_bindgen]
#[must_use]
pub fn constants() -> String {
    let limits = [
        ("text", TEXT_MAX_BYTES),
        ("body", protocol::BODY_LIMIT_BYTES),
        ("hashedFrom", HASHED_FROM_BYTES),
        ("block", BLOCK_BYTES),
        ("hash", HASH_BYTES),
        ("digest", CONTENT_DIGEST_BYTES),
        ("signature", SIGNATURE_BYTES),
        ("randomness", RANDOMNESS_BYTES),
    ];
    let limits = limits.map(|(name, bytes)| format!("\"{name}\":{bytes},"));
    let values = RecordStatus::ALL.map(|status| format!("\"{}\"", status.as_str()));
    let answers = Answer::ALL.map(Answer::to_json);
    let codes = CODES.map(|(name, answer)| format!("\"{name}\":{}", code_of(answer)));
    format!(
        "{{\"limits\":{{{}\"heldBack\":{HELD_BACK},\"coreMs\":{CORE_TIMEOUT_MS},\"spoolMs\":{PUT_TIMEOUT_MS},\
         \"tellMs\":{TELL_AFTER_MS}}},\"kept\":{{\"header\":\"{RECORD_STATUS}\",\"values\":[{}]}},\"source\":{},\
         \"metrics\":\"{METRICS_NAME}\",\"answers\":[{}],\"codes\":{{{}}}}}",
        limits.concat(),
        values.join(","),
        connections::source(),
        answers.join(","),
        codes.join(",")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn they_are_json_in_which_each_code_leads_to_its_answer() {
        let constants: Value = serde_json::from_str(&constants()).unwrap();
        assert_eq!(constants["limits"]["body"], protocol::BODY_LIMIT_BYTES);
        assert_eq!(constants["kept"]["values"][0], "accepted");
        assert_eq!(constants["source"]["key"], "snapshot");
        for (name, answer) in CODES {
            let code = constants["codes"][name].as_i64().unwrap();
            let found = &constants["answers"][usize::try_from(-1 - code).unwrap()];
            let expected: Value = serde_json::from_str(&answer.to_json()).unwrap();
            assert_eq!(*found, expected, "{name}");
        }
    }
}
