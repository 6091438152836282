#!/usr/bin/env bash
# Puts one stage of a region in force on Kubernetes; smpctl region add, region remove and country add call it by --apply (docs/kubernetes.md).
# It can run any number of times.
#
# From smpctl: SMP_REGION, SMP_STAGE (stores, services, gone), SMP_MANIFESTS, SMP_NAMESPACE, SMP_HUB, SMP_HUB_NAMESPACE and,
# unless the Secrets stay as they are, SMP_SECRETS. kubectl's contexts are called as the regions; SMP_CONTEXT (of a region that is
# not the hub) and SMP_HUB_CONTEXT say otherwise. A change of other regions leaves the hub's core alone.
set -euo pipefail
: "${SMP_REGION:?smpctl region add --apply tools/apply-region.sh calls this}" "${SMP_STAGE:?}" "${SMP_NAMESPACE:?}"
hub_context=${SMP_HUB_CONTEXT:-${SMP_HUB:?}}
# What is the hub's goes nowhere else, whatever the other region's context is.
if [ "$SMP_REGION" = "$SMP_HUB" ]; then
  context=$hub_context
  services=(replicator)
else
  context=${SMP_CONTEXT:-$SMP_REGION}
  services=(core replicator)
fi

here() { kubectl --context "$context" --namespace "$SMP_NAMESPACE" "$@"; }
in_hub() { kubectl --context "$hub_context" --namespace "$SMP_HUB_NAMESPACE" "$@"; }
# A value is never an argument: whoever lists processes would see it.
secret() { here create secret generic "$@" --dry-run=client --output yaml | here apply --filename -; }
has() { grep --quiet --recursive "^kind: $1\$" "${2:-$SMP_MANIFESTS}"; }
folder=$(mktemp --directory)
trap 'rm --recursive --force "$folder"' EXIT
# kubectl takes a value as it stands, with its quotes, and knows no export.
plain() {
  sed --regexp-extended "s/^[[:space:]]*(export[[:space:]]+)?//; s/[[:space:]]+\$//; s/^([A-Za-z_0-9]+)='(.*)'\$/\\1=\\2/" "$1" >"$folder/$2"
}

case $SMP_STAGE in
stores)
  kubectl --context "$context" apply --kustomize "$SMP_MANIFESTS"
  # One that was taken out of service sleeps.
  if has Cluster; then here annotate clusters.postgresql.cnpg.io/postgres cnpg.io/hibernation-; fi
  if has Cluster; then here wait clusters.postgresql.cnpg.io/postgres --for=condition=Ready --timeout=15m; fi
  if has Kafka; then here wait kafkas.kafka.strimzi.io/kafka --for=condition=Ready --timeout=15m; fi
  ;;
services)
  if [ -n "${SMP_SECRETS:-}" ]; then
    # A hub that is made now has none yet.
    if [ "$SMP_REGION" = "$SMP_HUB" ] && [ -z "$(here get secret core --ignore-not-found --output name)" ]; then
      services=(core replicator)
    fi
    for service in "${services[@]}"; do
      for name in "$service" "$service-setup"; do
        plain "$SMP_SECRETS/$name.env" "$name.env"
        secret "$name" --from-env-file="$folder/$name.env"
      done
    done
  fi
  if has KafkaMirrorMaker2; then
    # By these MirrorMaker 2 reads master data's one topic at the hub; Strimzi made them there.
    # Where the provider runs the hub's Kafka, somebody made the first by hand, and there is no second.
    in_hub get secret kafka-cluster-ca-cert --ignore-not-found --output 'jsonpath={.data.ca\.crt}' >"$folder/encoded"
    if [ -s "$folder/encoded" ]; then
      in_hub wait "kafkausers.kafka.strimzi.io/mirror-$SMP_REGION" --for=condition=Ready --timeout=5m
    fi
    in_hub get secret "mirror-$SMP_REGION" --output 'jsonpath={.data.password}' | base64 --decode >"$folder/password"
    files=("--from-file=password=$folder/password")
    if [ -s "$folder/encoded" ]; then
      base64 --decode <"$folder/encoded" >"$folder/ca.crt"
      files+=("--from-file=ca.crt=$folder/ca.crt")
    fi
    secret hub-kafka "${files[@]}"
  fi
  # It names the region's countries, and Kubernetes changes no Job that is there.
  here delete job --selector app.kubernetes.io/name=prepare --ignore-not-found
  kubectl --context "$context" apply --kustomize "$SMP_MANIFESTS"
  if [ -n "${SMP_SECRETS:-}" ]; then
    # What runs read its Secrets when it began.
    for name in "${services[@]}"; do here rollout restart "deployment/$name"; done
  fi
  for name in core replicator; do
    here rollout status "deployment/$name" --timeout=15m
  done
  ;;
gone)
  manifests=${SMP_MANIFESTS%/gone}
  kubectl --context "$context" delete --kustomize "$manifests/services" --ignore-not-found
  # Prometheus' operator need not be there.
  kubectl --context "$context" delete --kustomize "$manifests/monitoring" --ignore-not-found || true
  # The database's volumes stay: it sleeps. Kafka's hold what the hub has, and a new Kafka could not use them.
  if has Cluster "$manifests/stores"; then
    clusters=$(here get clusters.postgresql.cnpg.io --output name)
    for cluster in $clusters; do
      here annotate "$cluster" --overwrite cnpg.io/hibernation=on
    done
  fi
  if has Kafka "$manifests/stores"; then
    here delete kafkas.kafka.strimzi.io,kafkanodepools.kafka.strimzi.io --all
    here delete persistentvolumeclaims --selector strimzi.io/cluster=kafka --ignore-not-found
  fi
  # It may read nothing of the hub's any more.
  if has KafkaUser "${manifests%/*}/$SMP_HUB/stores"; then
    in_hub delete "kafkausers.kafka.strimzi.io/mirror-$SMP_REGION" --ignore-not-found
  fi
  ;;
*)
  echo "SMP_STAGE=$SMP_STAGE: stores, services or gone is expected" >&2
  exit 2
  ;;
esac
