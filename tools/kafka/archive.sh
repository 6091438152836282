#!/usr/bin/env bash
# archive.sh JVM_ARGS ARCHIVE: writes a class-data archive, from which the broker, its tools and MirrorMaker 2
# start in half of the time. Runs each of them once to learn which classes they load. For tools/setup.sh.
#
# A list of classes rather than -XX:ArchiveClassesAtExit: so one archive serves all of them.
set -euo pipefail

[ $# = 2 ] || { echo "usage: tools/kafka/archive.sh JVM_ARGS ARCHIVE" >&2; exit 2; }
readonly ARGS=$1 ARCHIVE=$2
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WORK=$ARCHIVE.work
readonly HERE WORK
readonly PATIENCE_SECS=90

rm -rf "$WORK"
STARTED=()
finish() {
  local pid
  for pid in ${STARTED[@]+"${STARTED[@]}"}; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$WORK"
}
trap finish EXIT

# Ports that are free now, and a password for the broker's few seconds.
read -r PORT CONTROLLER_PORT PASSWORD < <(node -e '
  const servers = [0, 0].map(() => require("net").createServer().listen(0, "127.0.0.1"));
  Promise.all(servers.map((server) => new Promise((listens) => server.on("listening", listens)))).then(() => {
    const password = require("crypto").randomBytes(16).toString("hex");
    console.log(...servers.map((server) => server.address().port), password);
    servers.forEach((server) => server.close());
  });')
readonly PORT CONTROLLER_PORT PASSWORD
mkdir -m 700 "$WORK"
for file in server client mirror; do
  sed -e "s|@PORT@|$PORT|g" -e "s|@CONTROLLER_PORT@|$CONTROLLER_PORT|g" -e "s|@PASSWORD@|$PASSWORD|g" \
    -e "s|@DIRECTORY@|$WORK|g" "$HERE/$file.properties" >"$WORK/$file.properties"
done
export MM2_HUB_PASSWORD=$PASSWORD MM2_REGION_PASSWORD=$PASSWORD

learn() { # NAME CLASS ARGUMENT...: runs a program to its end
  local name=$1
  shift
  java "-XX:DumpLoadedClassList=$WORK/$name.classes" "@$ARGS" "$@"
}

start() { # NAME CLASS ARGUMENT...: leaves it running
  local name=$1
  shift
  java "-XX:DumpLoadedClassList=$WORK/$name.classes" "@$ARGS" "$@" >"$WORK/$name.log" 2>&1 &
  STARTED+=($!)
}

await_line() { # NAME PID TEXT
  local started=$SECONDS
  until grep -q "$3" "$WORK/$1.log"; do
    if ! kill -0 "$2" 2>/dev/null || [ $((SECONDS - started)) -gt $PATIENCE_SECS ]; then
      tail -n 20 "$WORK/$1.log" >&2
      echo "$1: no '$3'" >&2
      exit 1
    fi
    sleep 0.1
  done
}

learn format kafka.tools.StorageTool format --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config "$WORK/server.properties"
start broker kafka.Kafka "$WORK/server.properties"
broker=$!
await_line broker $broker 'Kafka Server started'
client=(--bootstrap-server "127.0.0.1:$PORT" --command-config "$WORK/client.properties")
learn topics org.apache.kafka.tools.TopicCommand "${client[@]}" --create --topic archive --partitions 1
start mirror org.apache.kafka.connect.mirror.MirrorMaker "$WORK/mirror.properties" --clusters region
mirror=$!
printf 'h:1\tk\tv\n' | learn produce org.apache.kafka.tools.ConsoleProducer "${client[@]}" --topic archive \
  --reader-property parse.headers=true --reader-property parse.key=true
# The topic is not there yet when the consumer starts: it looks again twice a second.
learn consume org.apache.kafka.tools.consumer.ConsoleConsumer "${client[@]}" --topic hub.archive --from-beginning \
  --command-property metadata.max.age.ms=500 --max-messages 1 --timeout-ms $((PATIENCE_SECS * 1000))
# An orderly end loads classes too.
kill -TERM $mirror
wait $mirror || true
kill -TERM $broker
wait $broker || true

# The order is kept: a class stands behind what it extends.
awk '!seen[$0]++' "$WORK"/*.classes >"$WORK/all"
class_path=$(sed -n 's/^"\(.*\)"$/\1/p' "$ARGS" | tail -n 1)
java -Xshare:dump -Xlog:cds=error "-XX:SharedClassListFile=$WORK/all" "-XX:SharedArchiveFile=$WORK/archive" -cp "$class_path"
mv -f "$WORK/archive" "$ARCHIVE"
