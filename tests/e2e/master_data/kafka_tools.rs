//! Kafka's own programs, as the operator.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use platform::kafka::{self, Kafka, KafkaUser};
use protocol::MASTER_DATA_TOPIC;
use replication::kafka::TOPIC_CONFIG;
use tokio::task::block_in_place;

use super::pair::text;

fn command(kafka: &Kafka, class: &str, arguments: &[&str]) -> Command {
    let mut command = kafka::java(&format!("org.apache.kafka.tools.{class}")).unwrap();
    command
        .args(["--bootstrap-server", &kafka.bootstrap()])
        .arg("--command-config")
        .arg(kafka.client_properties(KafkaUser::Admin))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(kafka: &Kafka, class: &str, arguments: &[&str], input: &str) -> String {
    block_in_place(|| {
        let mut child = command(kafka, class, arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{class}: {stdout}{stderr}");
        stdout
    })
}

/// Deletes the topic, with all that is in it.
pub(super) fn delete_topic(kafka: &Kafka) {
    let arguments = ["--delete", "--topic", MASTER_DATA_TOPIC];
    run(kafka, "TopicCommand", &arguments, "");
}

/// Has the topic compacted as soon as can be, and what stands for a deletion removed with it.
pub(super) fn compact_at_once(kafka: &Kafka) {
    let settings = "min.compaction.lag.ms=0,delete.retention.ms=0,segment.ms=200,min.cleanable.dirty.ratio=0.01";
    block_in_place(|| {
        let mut command = kafka::java("kafka.admin.ConfigCommand").unwrap();
        let output = command
            .args(["--bootstrap-server", &kafka.bootstrap()])
            .arg("--command-config")
            .arg(kafka.client_properties(KafkaUser::Admin))
            .args(["--alter", "--entity-type", "topics"])
            .args(["--entity-name", MASTER_DATA_TOPIC, "--add-config", settings])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    });
}

/// Makes the topic as the relay does.
pub(super) fn create_topic(kafka: &Kafka) {
    let mut arguments = vec!["--create", "--topic", MASTER_DATA_TOPIC];
    arguments.extend(["--partitions", "1", "--replication-factor", "1"]);
    let settings = TOPIC_CONFIG.map(|(name, value)| format!("{name}={value}"));
    for setting in &settings {
        arguments.extend(["--config", setting]);
    }
    run(kafka, "TopicCommand", &arguments, "");
}

/// Writes records, one a line: headers, key and value, with tabs between. A value of NULL is none.
pub(super) fn produce(kafka: &Kafka, records: &str) {
    let mut arguments = vec!["--topic", MASTER_DATA_TOPIC, "--sync"];
    for property in ["parse.headers=true", "parse.key=true", "null.marker=NULL"] {
        arguments.extend(["--reader-property", property]);
    }
    run(kafka, "ConsoleProducer", &arguments, records);
}

/// The `seq` of each record in the topic, in the order of the log. Nobody may be
/// writing: two quiet seconds are the end.
pub(super) fn sequence(kafka: &Kafka) -> Vec<i64> {
    let mut consumer = Consumer::start(kafka, "2000");
    let all = (&mut consumer).collect();
    let status = consumer.child.wait().unwrap();
    assert!(status.success(), "the consumer failed: {status}");
    all
}

/// As [`sequence`], up to a `seq` that is there; others may be writing.
pub(super) fn sequence_up_to(kafka: &Kafka, last: i64) -> Vec<i64> {
    let mut all = Vec::new();
    for seq in Consumer::start(kafka, "60000") {
        all.push(seq);
        if seq >= last {
            return all;
        }
    }
    panic!("change {last} is not in the topic");
}

/// Waits until the topic holds the change of a `seq`.
pub(super) fn wait_for_record(kafka: &Kafka, seq: i64) {
    let found = Consumer::start(kafka, "60000").any(|found| found >= seq);
    assert!(found, "change {seq} is not in the topic");
}

/// The `seq` of each record, from the start of the topic on.
struct Consumer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Consumer {
    /// Ends when no record has come for so long.
    fn start(kafka: &Kafka, timeout_ms: &str) -> Self {
        let mut arguments = vec!["--topic", MASTER_DATA_TOPIC, "--partition", "0"];
        arguments.extend(["--offset", "earliest", "--timeout-ms", timeout_ms]);
        for property in ["print.headers=true", "print.value=false"] {
            arguments.extend(["--formatter-property", property]);
        }
        let mut child = command(kafka, "consumer.ConsoleConsumer", &arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }
}

impl Iterator for Consumer {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        loop {
            let line = block_in_place(|| self.lines.next())?.unwrap();
            let seq = line.split_once("smp-seq:").map(|(_, seq)| seq);
            if let Some(seq) = seq.and_then(|seq| seq.split([',', '\t']).next()) {
                return Some(seq.parse().unwrap());
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
