//! `tools/apply-region.sh` as smpctl calls it. In place of a cluster stands a `kubectl` that writes down what it is asked,
//! and finds nothing wrong: what is seen is where each call goes, and what it carries.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const KUBECTL: &str = r#"#!/bin/sh
echo "$*" >>calls
[ -z "$FAILS" ] || case "$*" in *"$FAILS"*) echo "cannot" >&2; exit 1 ;; esac
for argument in "$@"; do
  case $argument in
  --from-env-file=*) cat "${argument#--from-env-file=}" >>carried ;;
  esac
done
case "$*" in
*"get secret kafka-cluster-ca-cert"*) printf Q0E= ;;
*"get secret mirror-"*) printf c2VjcmV0 ;;
*"get secret core "*) [ -n "$NEW" ] || echo secret/core ;;
*"get clusters"*) echo cluster.postgresql.cnpg.io/postgres ;;
esac
"#;

struct World(PathBuf);

impl World {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apply-region-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("secrets")).unwrap();
        let kubectl = folder.join("kubectl");
        fs::write(&kubectl, KUBECTL).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["core", "core-setup", "replicator", "replicator-setup"] {
            let text = format!("# {name}\n export  A='top {name}=secret' \nB=plain\n");
            fs::write(folder.join(format!("secrets/{name}.env")), text).unwrap();
        }
        Self(folder)
    }

    fn run(&self, region: &str, stage: &str, more: &[(&str, &str)]) -> Output {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifests = root.join(format!("infra/rendered/kubernetes/{region}/{stage}"));
        let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap());
        let _ = fs::remove_file(self.0.join("calls"));
        let _ = fs::remove_file(self.0.join("carried"));
        Command::new(root.join("tools/apply-region.sh"))
            .current_dir(&self.0)
            .env("PATH", path)
            .env("SMP_REGION", region)
            .env("SMP_STAGE", stage)
            .env("SMP_NAMESPACE", region)
            .env("SMP_MANIFESTS", manifests)
            .env("SMP_HUB", "smp-asia")
            .env("SMP_HUB_NAMESPACE", "smp-asia")
            .envs(more.iter().copied())
            .output()
            .unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

#[test]
fn a_regions_services_get_their_secrets_as_they_are_meant_and_no_argument_holds_one() {
    let world = World::new("services");
    let secrets = world.0.join("secrets");
    let done = world.run(
        "smp-china",
        "services",
        &[("SMP_SECRETS", secrets.to_str().unwrap())],
    );
    assert!(done.status.success(), "{done:?}");
    let (calls, carried) = (world.text("calls"), world.text("carried"));
    assert!(
        !calls.contains("secret=") && !calls.contains("top "),
        "{calls}"
    );
    // By kubectl's rules quotes would be a part of the value, and export one of the name.
    assert!(
        carried.contains("\nA=top core-setup=secret\nB=plain\n"),
        "{carried}"
    );
    let order = [
        "--context smp-china --namespace smp-china create secret generic core ",
        "--context smp-asia --namespace smp-asia wait kafkausers.kafka.strimzi.io/mirror-smp-china",
        "--context smp-china --namespace smp-china create secret generic hub-kafka ",
        "--context smp-china apply --kustomize ",
        "rollout restart deployment/core",
        "rollout status deployment/replicator",
    ];
    let places: Vec<_> = order.iter().map(|call| calls.find(call)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?} {calls}"
    );
}

#[test]
fn what_is_the_hubs_goes_to_the_hub_and_its_core_is_left_alone() {
    let world = World::new("hub");
    let secrets = world.0.join("secrets");
    let contexts = [
        ("SMP_CONTEXT", "eks-us"),
        ("SMP_HUB_CONTEXT", "eks-sg"),
        ("SMP_SECRETS", secrets.to_str().unwrap()),
    ];
    for stage in ["stores", "services"] {
        let done = world.run("smp-asia", stage, &contexts);
        assert!(done.status.success(), "{done:?}");
        let calls = world.text("calls");
        assert!(
            calls.contains("eks-sg") && !calls.contains("eks-us"),
            "{calls}"
        );
        assert!(!calls.contains("generic core"), "{calls}");
        assert!(!calls.contains("restart deployment/core"), "{calls}");
    }
    assert!(
        world
            .text("calls")
            .contains("restart deployment/replicator")
    );
    // One that is made now has a core to be given its Secrets.
    let new = [&contexts[..], &[("NEW", "1")]].concat();
    let done = world.run("smp-asia", "services", &new);
    assert!(done.status.success(), "{done:?}");
    assert!(world.text("calls").contains("generic core-setup"));
}

#[test]
fn a_region_that_goes_leaves_its_volumes_and_no_right_at_the_hub_and_a_failure_is_told() {
    let world = World::new("gone");
    let done = world.run("smp-china", "gone", &[]);
    assert!(done.status.success(), "{done:?}");
    let calls = world.text("calls");
    for call in [
        "--context smp-china delete --kustomize ",
        "annotate cluster.postgresql.cnpg.io/postgres --overwrite cnpg.io/hibernation=on",
        "delete kafkas.kafka.strimzi.io,kafkanodepools.kafka.strimzi.io --all",
        "--context smp-asia --namespace smp-asia delete kafkausers.kafka.strimzi.io/mirror-smp-china",
    ] {
        assert!(calls.contains(call), "{call}: {calls}");
    }
    for fails in [
        "delete kafkas",
        "hibernation",
        "get clusters",
        "kafkausers",
        "/services",
    ] {
        let failed = world.run("smp-china", "gone", &[("FAILS", fails)]);
        assert!(!failed.status.success(), "{fails}: {}", world.text("calls"));
    }
    // It comes back awake.
    let back = world.run("smp-china", "stores", &[]);
    assert!(back.status.success(), "{back:?}");
    assert!(
        world
            .text("calls")
            .contains("cnpg.io/postgres cnpg.io/hibernation-")
    );
}
