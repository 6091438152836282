//! A broker's settings.

use std::path::Path;

use super::{KafkaUser, Place};

/// The line with which a program of Kafka's logs in; `others` are the users that a broker lets in.
pub(super) fn plain_login(user: &str, password: &str, others: &str) -> String {
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"{user}\" password=\"{password}\"{others};"
    )
}

/// Small, and quick to start. Every setting with a 1 is for a cluster of one.
pub(super) fn server_properties(place: &Place, advertised_port: u16, data: &Path) -> String {
    let Place {
        port,
        controller_port,
        outside_port,
        passwords,
    } = place;
    let [admin, ..] = passwords;
    let letting_in = |users: &[KafkaUser]| {
        let users = KafkaUser::ALL
            .iter()
            .zip(passwords)
            .filter(|(user, _)| users.contains(user))
            .map(|(user, password)| format!(" user_{}=\"{password}\"", user.name()));
        plain_login("admin", admin, &users.collect::<String>())
    };
    let everybody = letting_in(&KafkaUser::ALL);
    let itself = letting_in(&[KafkaUser::Admin]);
    let mirrors = letting_in(&[KafkaUser::Mirror]);
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},OUTSIDE://127.0.0.1:{outside_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port},OUTSIDE://127.0.0.1:{advertised_port}
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,OUTSIDE:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
early.start.listeners=CONTROLLER
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.broker.plain.sasl.jaas.config={everybody}
listener.name.outside.plain.sasl.jaas.config={mirrors}
listener.name.controller.plain.sasl.jaas.config={itself}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin
log.dirs={data}
# A topic that made itself would be kept for a week only: master data must be compacted.
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed broker's successor is let in when the dead one's session is over.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
# Tests wait for what is compacted away.
log.cleaner.backoff.ms=500
"
    )
}
