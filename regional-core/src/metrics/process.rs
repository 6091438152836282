//! How much memory the process has.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

/// `process_resident_memory_bytes`, read when it is asked for. Where the system does not tell there is no series: 0 would
/// be a lie that every limit believes.
#[derive(Debug)]
pub(super) struct ResidentMemory;

impl Collector for ResidentMemory {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let Some(bytes) = resident_bytes(&status) else {
            return Ok(());
        };
        let gauge = ConstGauge::new(bytes);
        let encoder = encoder.encode_descriptor(
            "process_resident_memory_bytes",
            "Memory that the process has.",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(encoder)
    }
}

/// Of `proc_pid_status(5)`.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_in_kibibytes_and_nothing_else_is_believed() {
        let status = "Name:\tcore\nVmRSS:\t   22400 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident_bytes(status), Some(22_937_600));
        for status in ["", "VmRSS:\t22400", "VmRSS:\t-\tkB", "VmSize:\t1 kB"] {
            assert_eq!(resident_bytes(status), None, "{status}");
        }
    }
}
