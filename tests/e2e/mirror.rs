//! Master data's way between regions: two real brokers, and the real MirrorMaker 2 between them with the
//! settings that `smpctl render` made. One topic crosses, in one direction, and nobody may do more than
//! their part.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use platform::kafka::{self, Kafka, KafkaUser, Part};
use platform::mirror::Mirror;
use platform::ports::Ports;
use protocol::MASTER_DATA_TOPIC;
use protocol::RegionId;
use tokio::sync::OnceCell;

use crate::support::lifetime;

/// Topics of the hub that must not cross: a regex with its dot unescaped, or matched as a part only, would
/// take one of them along.
const PRIVATE_TOPICS: [&str; 4] = [
    "smp_globalXmaster_data",
    "smp_global.master_data.private",
    "private.smp_global.master_data",
    "heartbeats",
];

/// The hub, a region, and MirrorMaker 2 between them.
struct Regions {
    hub: Kafka,
    region: Kafka,
    _mirror: Mirror,
}

/// The brokers of this file's tests, which none of them stops. The hub's topics are there before
/// MirrorMaker 2 is, and so is a record in each of those that must not cross.
async fn regions() -> &'static Regions {
    static REGIONS: OnceCell<Regions> = OnceCell::const_new();
    REGIONS
        .get_or_init(|| async {
            let (hub, region) = brokers("e2e-mirror").await;
            create_master_data_topic(&hub);
            for topic in PRIVATE_TOPICS {
                create_topic(&hub, KafkaUser::Admin, topic).unwrap();
                produce(&hub, KafkaUser::Admin, topic, "from:hub\tkey\tprivate").unwrap();
            }
            let mirror = Mirror::start(&hub, &region, &log("mirror")).await.unwrap();
            Regions {
                hub,
                region,
                _mirror: mirror,
            }
        })
        .await
}

async fn brokers(name: &str) -> (Kafka, Kafka) {
    let hub = RegionId::parse("smp-asia").unwrap();
    let broker = async |id: &str, index| {
        let log = log(&format!("{name}-{id}"));
        let id = RegionId::parse(id).unwrap();
        let part = if id == hub {
            Part::Hub
        } else {
            Part::SpokeOf(&hub)
        };
        Kafka::start(&id, part, name, (Ports::Free, index), None, &log)
            .await
            .unwrap()
    };
    tokio::join!(broker("smp-asia", 0), broker("smp-china", 1))
}

fn log(name: &str) -> std::path::PathBuf {
    lifetime::run_directory().join(format!("logs/kafka-{name}.log"))
}

/// Runs one of Kafka's own programs as a user: what it printed, or why it failed. Some of them print an
/// error and say that all is well.
fn run(
    kafka: &Kafka,
    user: KafkaUser,
    class: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, String> {
    let mut child = kafka::java(&format!("org.apache.kafka.tools.{class}"))
        .unwrap()
        .args(["--bootstrap-server", &kafka.bootstrap()])
        .arg("--command-config")
        .arg(kafka.client_properties(user))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let printed = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() && !printed.contains("AuthorizationException") {
        Ok(stdout.trim_end().to_owned())
    } else {
        Err(printed)
    }
}

fn create_topic(kafka: &Kafka, user: KafkaUser, topic: &str) -> Result<String, String> {
    let arguments = ["--create", "--topic", topic, "--partitions", "1"];
    run(kafka, user, "TopicCommand", &arguments, "")
}

/// As the relay makes it.
fn create_master_data_topic(hub: &Kafka) {
    let mut arguments = vec!["--create", "--topic", MASTER_DATA_TOPIC];
    arguments.extend(["--partitions", "1", "--config", "cleanup.policy=compact"]);
    arguments.extend(["--config", "delete.retention.ms=604800000"]);
    run(hub, KafkaUser::Relay, "TopicCommand", &arguments, "").unwrap();
}

/// Writes records, one a line: headers, key and value, with tabs between.
fn produce(kafka: &Kafka, user: KafkaUser, topic: &str, records: &str) -> Result<String, String> {
    let mut arguments = vec!["--topic", topic, "--sync"];
    arguments.extend(["--reader-property", "parse.headers=true"]);
    arguments.extend(["--reader-property", "parse.key=true"]);
    run(
        kafka,
        user,
        "ConsoleProducer",
        &arguments,
        &format!("{records}\n"),
    )
}

/// Waits for a topic's first records and gives them, one a line.
fn consume(kafka: &Kafka, user: KafkaUser, topic: &str, count: usize) -> Result<String, String> {
    let count = count.to_string();
    let mut arguments = vec!["--topic", topic, "--partition", "0"];
    arguments.extend(["--offset", "earliest", "--max-messages", &count]);
    arguments.extend(["--timeout-ms", "60000"]);
    for part in ["partition", "headers", "key", "value"] {
        let property = match part {
            "partition" => "print.partition=true",
            "headers" => "print.headers=true",
            "key" => "print.key=true",
            _ => "print.value=true",
        };
        arguments.extend(["--formatter-property", property]);
    }
    run(kafka, user, "consumer.ConsoleConsumer", &arguments, "")
}

fn topics(kafka: &Kafka) -> BTreeSet<String> {
    let listed = run(kafka, KafkaUser::Admin, "TopicCommand", &["--list"], "").unwrap();
    let mut topics: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
    // Where a group's positions are kept, made with the first group.
    topics.remove("__consumer_offsets");
    topics
}

fn set<'a>(topics: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    topics.into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_arrives_as_it_was_written_and_no_other_topic_does() {
    let Regions { hub, region, .. } = regions().await;
    let record =
        "stream_epoch:7,hub_seq:42\ttax_configs|VN|vat\t{\"name\":\"Thuế GTGT\",\"rate\":\"0.08\"}";
    produce(hub, KafkaUser::Relay, MASTER_DATA_TOPIC, record).unwrap();
    let arrived = consume(region, KafkaUser::Applier, MASTER_DATA_TOPIC, 1).unwrap();
    assert_eq!(arrived, format!("Partition:0\t{record}"));

    let own = [
        "heartbeats",
        "mm2-configs.smp-asia.internal",
        "mm2-offsets.smp-asia.internal",
        "mm2-status.smp-asia.internal",
    ];
    assert_eq!(
        topics(region),
        set(own.into_iter().chain([MASTER_DATA_TOPIC]))
    );
    // MirrorMaker 2's own topic of that name is empty: the hub's has a record.
    let segment = region
        .directory()
        .join("data/heartbeats-0/00000000000000000000.log");
    assert_eq!(fs::metadata(segment).unwrap().len(), 0);
    // Nor has it made anything in the hub.
    assert_eq!(
        topics(hub),
        set(PRIVATE_TOPICS.into_iter().chain([MASTER_DATA_TOPIC]))
    );

    let described = ["--describe", "--topic", MASTER_DATA_TOPIC];
    let described = run(region, KafkaUser::Applier, "TopicCommand", &described, "").unwrap();
    for setting in ["cleanup.policy=compact", "delete.retention.ms=604800000"] {
        assert!(described.contains(setting), "no {setting} in {described}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrormaker_may_only_read_and_only_master_data_in_the_hub() {
    let Regions { hub, .. } = regions().await;
    let before = topics(hub);
    let refused = |what: &str, result: Result<String, String>| {
        let printed = result.expect_err(what);
        assert!(printed.contains("AuthorizationException"), "{printed}");
    };
    let mirror = KafkaUser::Mirror;
    for topic in [MASTER_DATA_TOPIC, "smp_globalXmaster_data"] {
        let forged = produce(hub, mirror, topic, "from:nobody\tkey\tforged");
        refused("MirrorMaker 2 may write in the hub", forged);
    }
    for topic in ["mm2-offset-syncs.smp-china.internal", "new"] {
        let created = create_topic(hub, mirror, topic);
        refused("MirrorMaker 2 may create topics in the hub", created);
    }
    let deleted = ["--delete", "--topic", MASTER_DATA_TOPIC];
    let deleted = run(hub, mirror, "TopicCommand", &deleted, "");
    refused("MirrorMaker 2 may delete topics in the hub", deleted);
    for topic in PRIVATE_TOPICS {
        let read = consume(hub, mirror, topic, 1);
        refused("MirrorMaker 2 may read what is private to the hub", read);
    }
    assert_eq!(topics(hub), before);
    let segment = hub.directory().join(format!(
        "data/{MASTER_DATA_TOPIC}-0/00000000000000000000.log"
    ));
    assert!(!holds(&segment, "forged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applier_may_only_read_in_its_region() {
    let Regions { region, .. } = regions().await;
    let applier = KafkaUser::Applier;
    let altered = ["--alter", "--topic", MASTER_DATA_TOPIC, "--partitions", "2"];
    for refused in [
        produce(
            region,
            applier,
            MASTER_DATA_TOPIC,
            "from:nobody\tkey\tforged",
        ),
        create_topic(region, applier, "new"),
        run(region, applier, "TopicCommand", &altered, ""),
        // It says where the records come from, and is MirrorMaker 2's alone.
        consume(region, applier, "mm2-configs.smp-asia.internal", 1),
        // The relay is the hub's: here it may do nothing at all.
        create_topic(region, KafkaUser::Relay, "new"),
    ] {
        let printed = refused.expect_err("an applier may do more than read");
        assert!(printed.contains("AuthorizationException"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_kept_in_a_topic_or_a_log() {
    let Regions { hub, region, .. } = regions().await;
    let configs = region
        .directory()
        .join("data/mm2-configs.smp-asia.internal-0/00000000000000000000.log");
    assert!(holds(&configs, "${env:MM2_HUB_PASSWORD}"));
    for kafka in [hub, region] {
        for user in [KafkaUser::Admin, KafkaUser::Mirror, KafkaUser::Relay] {
            let (_, password) = kafka.credentials(user);
            for name in ["mirror", "e2e-mirror-smp-asia", "e2e-mirror-smp-china"] {
                assert!(!holds(&log(name), password), "in {name}'s log");
            }
            assert!(!holds(&configs, password));
        }
    }
}

/// What was not yet there when MirrorMaker 2 or a broker was killed arrives when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_goes_on_where_it_left_off() {
    let (mut hub, mut region) = brokers("e2e-mirror-kills").await;
    create_master_data_topic(&hub);
    let mut mirror = Mirror::start(&hub, &region, &log("mirror-kills"))
        .await
        .unwrap();
    let relay = KafkaUser::Relay;
    produce(&hub, relay, MASTER_DATA_TOPIC, "n:1\tk\t1").unwrap();
    consume(&region, KafkaUser::Applier, MASTER_DATA_TOPIC, 1).unwrap();
    mirror.kill().unwrap();
    produce(&hub, relay, MASTER_DATA_TOPIC, "n:2\tk\t2").unwrap();
    region.kill().unwrap();
    region.start_again().await.unwrap();
    mirror.start_again().await.unwrap();
    hub.kill().unwrap();
    hub.start_again().await.unwrap();
    produce(&hub, relay, MASTER_DATA_TOPIC, "n:3\tk\t3").unwrap();

    // What was mirrored just before a kill may come twice.
    let mut count = 3;
    loop {
        let arrived = consume(&region, KafkaUser::Applier, MASTER_DATA_TOPIC, count).unwrap();
        let values: BTreeSet<_> = arrived
            .lines()
            .map(|line| line.rsplit('\t').next())
            .collect();
        if values == BTreeSet::from([Some("1"), Some("2"), Some("3")]) {
            break;
        }
        count += 1;
    }
    mirror.stop().unwrap();
    region.stop().unwrap();
    hub.remove().unwrap();
    region.remove().unwrap();
}

fn holds(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).unwrap();
    String::from_utf8_lossy(&bytes).contains(text)
}
