//! Grants what `infra::kafka_rights` says, as `smpctl render` has it granted on Kubernetes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use infra::kafka_rights::{self, Operation, Resource, User};
use protocol::RegionId;

use super::wire::{Connection, Reader, Writer};

/// Something a user may do with something.
#[derive(Debug, Clone)]
pub(super) struct Right {
    user: User,
    resource: Resource,
    operation: Operation,
}

/// Kafka's numbers of a resource: of its kind, and of the kind of name.
fn encoded(resource: &Resource) -> (i8, &str, i8) {
    const LITERAL: i8 = 3;
    const PREFIXED: i8 = 4;
    match resource {
        Resource::Topic(name) => (2, name, LITERAL),
        Resource::TopicsBeginningWith(prefix) => (2, prefix, PREFIXED),
        Resource::Group(name) => (3, name, LITERAL),
        Resource::Cluster => (4, "kafka-cluster", LITERAL),
    }
}

/// Kafka's number of an operation.
fn number(operation: Operation) -> i8 {
    match operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Describe => 8,
        Operation::DescribeConfigs => 10,
        Operation::AlterConfigs => 11,
        Operation::IdempotentWrite => 12,
    }
}

/// What is granted in the hub. Tests let an applier read there as well.
pub(super) fn in_the_hub() -> Vec<Right> {
    let mut rights = kafka_rights::in_the_hub();
    let reading = rights.iter().find(|right| right.user == User::Mirror);
    let applier = reading.map(|right| kafka_rights::Right {
        user: User::Applier,
        ..right.clone()
    });
    rights.extend(applier);
    one_by_one(rights)
}

/// What is granted in a spoke.
pub(super) fn in_a_spoke(hub: &RegionId) -> Vec<Right> {
    one_by_one(kafka_rights::in_a_spoke(hub))
}

fn one_by_one(rights: Vec<kafka_rights::Right>) -> Vec<Right> {
    let each = |right: kafka_rights::Right| {
        right.operations.iter().map(move |&operation| Right {
            user: right.user,
            resource: right.resource.clone(),
            operation,
        })
    };
    rights.into_iter().flat_map(each).collect()
}

/// Grants rights in a cluster that has none yet, and waits until its broker knows them.
///
/// Asked of Kafka by hand: its `AclCommand` takes a JVM for every few rights.
pub(super) async fn grant(admin: &mut Connection, rights: &[Right]) -> Result<()> {
    create(admin, rights).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    // The controller has them now, and its broker follows.
    while count(admin).await? < rights.len() {
        ensure!(
            Instant::now() < deadline,
            "the broker does not know its ACLs"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn create(admin: &mut Connection, rights: &[Right]) -> Result<()> {
    const CREATE_ACLS: (i16, i16) = (30, 1);
    const ALLOW: i8 = 3;
    let mut body = Writer::default();
    body.length(rights.len())?;
    for Right {
        user,
        resource,
        operation,
    } in rights
    {
        let (kind, name, pattern) = encoded(resource);
        body.i8(kind);
        body.string(name)?;
        body.i8(pattern);
        body.string(&format!("User:{}", user.name()))?;
        body.string("*")?;
        body.i8(number(*operation));
        body.i8(ALLOW);
    }
    let answer = admin.ask(CREATE_ACLS, body).await?;
    let mut answer = Reader::new(&answer);
    let _throttled_ms = answer.i32()?;
    let results = answer.length()?;
    ensure!(results == rights.len(), "Kafka answered {results} ACLs");
    for right in rights {
        let (code, message) = (answer.i16()?, answer.nullable_string()?);
        ensure!(code == 0, "Kafka refused {right:?}: {code} {message:?}");
    }
    Ok(())
}

/// How many rights the broker knows.
async fn count(admin: &mut Connection) -> Result<usize> {
    const DESCRIBE_ACLS: (i16, i16) = (29, 1);
    const ANY: i8 = 1;
    let mut body = Writer::default();
    body.i8(ANY);
    body.null();
    body.i8(ANY);
    body.null();
    body.null();
    body.i8(ANY);
    body.i8(ANY);
    let answer = admin.ask(DESCRIBE_ACLS, body).await?;
    let mut answer = Reader::new(&answer);
    let _throttled_ms = answer.i32()?;
    let (code, message) = (answer.i16()?, answer.nullable_string()?);
    ensure!(
        code == 0,
        "Kafka does not describe ACLs: {code} {message:?}"
    );
    let mut known = 0;
    for _ in 0..answer.length()? {
        let _resource = (answer.i8()?, answer.nullable_string()?, answer.i8()?);
        let acls = answer.length()?;
        known += acls;
        for _ in 0..acls {
            let _who = (answer.nullable_string()?, answer.nullable_string()?);
            let _what = (answer.i8()?, answer.i8()?);
        }
    }
    Ok(known)
}
