//! The replicator's client at a broker as Strimzi sets one up: TLS by a CA of its own, SCRAM-SHA-512.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use platform::checkout;
use platform::kafka::java;
use platform::process::Process;
use replication::kafka::{Broker, Encryption, Mechanism, Reader, ensure_topic};

const USER: &str = "relay";
const PASSWORD: &str = "a-password-of-this-test-only";

/// A broker that takes nobody but a user with a password, encrypted.
struct Encrypted {
    _process: Process,
    port: u16,
    directory: PathBuf,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr)
    );
}

/// A certificate for 127.0.0.1 that vouches for itself: the key for a broker, the certificate for its clients.
fn certificate(directory: &Path, name: &str) {
    let store = directory.join(format!("{name}.p12"));
    let keytool = |arguments: &[&str], more: &[&Path]| {
        let mut command = Command::new("keytool");
        command.args(arguments).args(more);
        command.args(["-alias", name, "-storepass", PASSWORD, "-keystore"]);
        command.arg(&store);
        run(command);
    };
    let subject = format!("CN={name}");
    let pair = [
        "-genkeypair",
        "-keyalg",
        "EC",
        "-storetype",
        "PKCS12",
        "-validity",
        "2",
    ];
    let names = ["-ext", "san=ip:127.0.0.1", "-dname", &subject];
    keytool(&[&pair[..], &names[..]].concat(), &[]);
    let file = directory.join(format!("{name}.crt"));
    keytool(&["-exportcert", "-rfc", "-file"], &[&file]);
}

impl Encrypted {
    async fn start() -> Self {
        let directory = checkout::run_dir("kafka").unwrap().join("encrypted");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        certificate(&directory, "broker");
        certificate(&directory, "somebody-else");
        let (port, inside, controller) = (free_port(), free_port(), free_port());
        let settings = directory.join("server.properties");
        let (data, store) = (directory.join("data"), directory.join("broker.p12"));
        fs::write(
            &settings,
            format!(
                "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=BROKER://127.0.0.1:{inside},ENCRYPTED://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=BROKER:PLAINTEXT,ENCRYPTED:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.encrypted.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.encrypted.ssl.keystore.type=PKCS12
listener.name.encrypted.ssl.keystore.location={}
listener.name.encrypted.ssl.keystore.password={PASSWORD}
log.dirs={}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
",
                store.display(),
                data.display()
            ),
        )
        .unwrap();
        let mut format = java("kafka.tools.StorageTool").unwrap();
        format.args([
            "format",
            "--cluster-id",
            "0123456789abcdef012345",
            "--config",
        ]);
        format.arg(&settings);
        let user = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        format.args(["--add-scram", &user]);
        run(format);
        let mut command = java("kafka.Kafka").unwrap();
        command.arg(&settings);
        let log = directory.join("kafka.log");
        let mut process = Process::start("the encrypted Kafka", command, &log).unwrap();
        process
            .wait_until("started", || async {
                let log = fs::read_to_string(&log).ok()?;
                log.contains("Kafka Server started").then_some(())
            })
            .await
            .unwrap();
        Self {
            _process: process,
            port,
            directory,
        }
    }

    fn broker(&self, host: &str, ca: &str, password: &str) -> Broker {
        let ca = self.directory.join(format!("{ca}.crt"));
        Broker {
            bootstrap: format!("{host}:{}", self.port),
            credentials: Some((USER.to_owned(), password.into())),
            mechanism: Mechanism::ScramSha512,
            encryption: Encryption::Tls {
                ca: Some(ca.to_str().unwrap().to_owned()),
            },
        }
    }
}

/// Somebody calls who is not let in, or does not believe that it is the broker: its log says why.
async fn is_refused(kafka: &Encrypted, caller: Broker, why: &str) {
    let refusals = || {
        let log = fs::read_to_string(kafka.directory.join("kafka.log")).unwrap();
        log.matches(why).count()
    };
    let before = refusals();
    let call = tokio::spawn(async move { ensure_topic(&caller, 1).await });
    let deadline = Instant::now() + Duration::from_mins(1);
    while refusals() == before {
        assert!(Instant::now() < deadline, "nobody was refused for {why:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It goes on trying until its patience ends: nobody waits for that.
    call.abort();
    if let Ok(result) = call.await {
        assert!(result.is_err(), "{why:?}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_believed_by_its_ca_and_name_and_takes_who_knows_the_password() {
    const NOT_BELIEVED: &str = "SSL handshake failed";
    const NOT_LET_IN: &str = "invalid credentials with SASL mechanism SCRAM-SHA-512";
    let kafka = Encrypted::start().await;
    let right = kafka.broker("127.0.0.1", "broker", PASSWORD);
    assert!(ensure_topic(&right, 1).await.unwrap(), "it is new");

    let another_ca = kafka.broker("127.0.0.1", "somebody-else", PASSWORD);
    is_refused(&kafka, another_ca, NOT_BELIEVED).await;
    let another_password = kafka.broker("127.0.0.1", "broker", "another");
    is_refused(&kafka, another_password, NOT_LET_IN).await;
    // Its certificate is for the address.
    let another_name = kafka.broker("localhost", "broker", PASSWORD);
    is_refused(&kafka, another_name, NOT_BELIEVED).await;

    let reader = Reader::connect(&right, "anybody").unwrap();
    let watermarks = tokio::task::block_in_place(|| reader.watermarks()).unwrap();
    assert_eq!(watermarks, Some((0, 0)));
}
