#!/usr/bin/env bash
# Puts one stage of a region in force on Kubernetes; smpctl region add, region remove and country add call it by --apply (docs/kubernetes.md).
# It can run any number of times.
#
# From smpctl: SMP_REGION, SMP_STAGE (stores, services, gone), SMP_MANIFESTS, SMP_NAMESPACE, SMP_HUB, SMP_HUB_NAMESPACE and,
# unless the Secrets stay as they are, SMP_SECRETS. kubectl's contexts are called as the regions; SMP_CONTEXT and SMP_HUB_CONTEXT say otherwise.
set -euo pipefail
: "${SMP_REGION:?smpctl region add --apply tools/apply-region.sh calls this}" "${SMP_STAGE:?}" "${SMP_NAMESPACE:?}"
context=${SMP_CONTEXT:-$SMP_REGION}
hub_context=${SMP_HUB_CONTEXT:-$SMP_HUB}

here() { kubectl --context "$context" --namespace "$SMP_NAMESPACE" "$@"; }
in_hub() { kubectl --context "$hub_context" --namespace "$SMP_HUB_NAMESPACE" "$@"; }
# A value is never an argument: whoever lists processes would see it.
secret() { here create secret generic "$@" --dry-run=client --output yaml | here apply --filename -; }
has() { grep --quiet --recursive "^kind: $1\$" "$SMP_MANIFESTS"; }

case $SMP_STAGE in
stores)
  kubectl --context "$context" apply --kustomize "$SMP_MANIFESTS"
  if has Cluster; then here wait clusters.postgresql.cnpg.io/postgres --for=condition=Ready --timeout=15m; fi
  if has Kafka; then here wait kafkas.kafka.strimzi.io/kafka --for=condition=Ready --timeout=15m; fi
  ;;
services)
  if [ -n "${SMP_SECRETS:-}" ]; then
    for name in core core-setup replicator replicator-setup; do
      secret "$name" --from-env-file="$SMP_SECRETS/$name.env"
    done
  fi
  if has KafkaMirrorMaker2; then
    # By these MirrorMaker 2 reads master data's one topic at the hub; Strimzi made them there.
    folder=$(mktemp --directory)
    trap 'rm --recursive --force "$folder"' EXIT
    in_hub get secret "mirror-$SMP_REGION" --output 'jsonpath={.data.password}' | base64 --decode >"$folder/password"
    files=("--from-file=password=$folder/password")
    if in_hub get secret kafka-cluster-ca-cert --output 'jsonpath={.data.ca\.crt}' >"$folder/encoded" 2>/dev/null; then
      base64 --decode <"$folder/encoded" >"$folder/ca.crt"
      files+=("--from-file=ca.crt=$folder/ca.crt")
    fi
    secret hub-kafka "${files[@]}"
  fi
  # It names the region's countries, and Kubernetes changes no Job that is there.
  here delete job --selector app.kubernetes.io/name=prepare --ignore-not-found
  kubectl --context "$context" apply --kustomize "$SMP_MANIFESTS"
  # What runs read its Secrets when it began.
  for name in core replicator; do
    here rollout restart "deployment/$name"
    here rollout status "deployment/$name" --timeout=15m
  done
  ;;
gone)
  # The database's volumes stay: it sleeps.
  kubectl --context "$context" delete --kustomize "${SMP_MANIFESTS%/gone}/services" --ignore-not-found
  kubectl --context "$context" delete --kustomize "${SMP_MANIFESTS%/gone}/monitoring" --ignore-not-found || true
  here annotate clusters.postgresql.cnpg.io --all --overwrite cnpg.io/hibernation=on || true
  here delete kafkas.kafka.strimzi.io --all --ignore-not-found || true
  ;;
*)
  echo "SMP_STAGE=$SMP_STAGE: stores, services or gone is expected" >&2
  exit 2
  ;;
esac
