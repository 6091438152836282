//! Events as large as they may be: what they cost in memory is bounded.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::office::Office;
use crate::support::edge::{KEYID, SECRET};

/// The binary, in a process of its own so that its memory can be told from the others'.
struct Serving(Child);

impl Serving {
    fn start(database_url: &str) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_regional-core"))
            .arg("serve")
            .env_clear()
            .env("CORE_REGION", "smp-asia")
            .env("CORE_COUNTRIES", "VN")
            .env("CORE_HOP_SECRETS", format!(r#"{{"{KEYID}":"{SECRET}"}}"#))
            .env("CORE_DATABASE_URL", database_url)
            .env("CORE_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The most it has had, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[tokio::test]
async fn large_names_numbers_and_addresses_cost_no_more_than_what_is_kept_of_them() {
    let office = Office::closed(1).await;
    office
        .run(
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, \
                    payload_hash, payload, name, phone_number, email) \
             select gen_random_uuid(), 'VN', 'smp-asia', 'vn-main', 'poll', sha256(n::text::bytea), '{}', \
                    repeat('ạ', 330000), repeat('9', 1000000), repeat('x', 1000000) \
             from generate_series(1, 100) as n",
        )
        .await;
    let serving = Serving::start(&office.core.database.app_url());
    office.wait_until_none_waits().await;
    let tickets = "select count(*) from ticket where octet_length(subject) between 1000 and 1024 \
         and phone_state = 'too_long'";
    assert_eq!(office.number(tickets).await, 100);
    let most = serving.memory();
    assert!(most < 100 * 1024, "{most} KiB");
}
