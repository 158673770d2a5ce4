#!/usr/bin/env bash
# Apache Kafka from its published jars, one KRaft node or several: for tests and benchmarks, not for production.
#
#   scripts/kafka.sh fetch [VERSION]                            download the jars (Maven; kept in ${XDG_CACHE_HOME:-~/.cache}/millstream)
#   scripts/kafka.sh run DIR PORT [VERSION] [PROPERTIES]        run in the foreground, data under DIR; PROPERTIES: a file of further settings
#   scripts/kafka.sh nodes COUNT DIR PORT [VERSION] [PROPERTIES]  the same with COUNT nodes at PORT, PORT+2, PORT+4, ... (a controller beside each):
#                                                               three replicas, two of them in sync; DIR/node-N.pid names a node's process, and one
#                                                               that dies is started again
#
# Needs Java 17 or newer and Maven. Ready when a metadata request answers, some seconds after the start.
set -euo pipefail
default_version=4.3.1
command=${1:?fetch or run}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream

fetch() {
  local libs=$cache/kafka-$1
  [ -f "$libs/.complete" ] && return
  echo "kafka.sh: fetching Apache Kafka $1 with Maven into $libs" >&2
  mkdir -p "$libs"
  cat >"$libs/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>millstream</groupId><artifactId>kafka-jars</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$1</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$1</version></dependency>
</dependencies></project>
POM
  mvn -q -B -f "$libs/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs"
  touch "$libs/.complete"
}

# one id for all nodes; the first letter is ours: an id that begins with a hyphen reads as an option
id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
id=M${id:1}

format() {
  local class
  # the tool moved between packages in 3.x
  for class in kafka.tools.StorageTool org.apache.kafka.tools.StorageTool; do
    if java -cp "$1/*" "$class" format -t "$id" -c "$2" >>"$3" 2>&1; then return; fi
  done
  cat "$3" >&2
  return 1
}

# properties NUMBER COUNT DIR PORT PROPERTIES: of node NUMBER of COUNT, whose first listens on PORT
properties() {
  local number=$1 count=$2 dir=$3 first=$4 extra=$5 node voters=
  local port=$((first + 2 * (number - 1)))
  for node in $(seq "$count"); do
    voters+=${voters:+,}$node@127.0.0.1:$((first + 2 * (node - 1) + 1))
  done
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$number
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
default.replication.factor=$count
min.insync.replicas=$((count / 2 + 1))
offsets.topic.replication.factor=$count
transaction.state.log.replication.factor=$count
transaction.state.log.min.isr=$((count / 2 + 1))
group.initial.rebalance.delay.ms=0
# test data carries old timestamps; retention goes by them
log.retention.ms=-1
PROPERTIES
  [ -z "$extra" ] || cat "$extra"
}

# keep NUMBER DIR LIBS: runs a node, and again whenever it dies
keep() {
  local number=$1 dir=$2 libs=$3
  trap 'kill "$node" 2>/dev/null; wait "$node"; exit 0' TERM INT
  while true; do
    # shellcheck disable=SC2086 # the heap setting is several words
    java ${KAFKA_HEAP_OPTS:--Xms256m -Xmx1g} -cp "$libs/*" kafka.Kafka "$dir/node-$number/server.properties" >>"$dir/node-$number/log" 2>&1 &
    node=$!
    echo "$node" >"$dir/node-$number.pid"
    wait "$node" || true
  done
}

case $command in
fetch) fetch "${2:-$default_version}" ;;
run)
  dir=$(mkdir -p "${2:?DIR}" && cd "$2" && pwd)
  version=${4:-$default_version}
  fetch "$version"
  libs=$cache/kafka-$version
  properties 1 1 "$dir" "${3:?PORT}" "${5:-}" >"$dir/server.properties"
  [ -f "$dir/data/meta.properties" ] || format "$libs" "$dir/server.properties" "$dir/format.log"
  # shellcheck disable=SC2086 # the heap setting is several words
  exec java ${KAFKA_HEAP_OPTS:--Xms256m -Xmx1g} -cp "$libs/*" kafka.Kafka "$dir/server.properties"
  ;;
nodes)
  count=${2:?COUNT}
  dir=$(mkdir -p "${3:?DIR}" && cd "$3" && pwd)
  version=${5:-$default_version}
  fetch "$version"
  libs=$cache/kafka-$version
  for number in $(seq "$count"); do
    mkdir -p "$dir/node-$number"
    properties "$number" "$count" "$dir/node-$number" "${4:?PORT}" "${6:-}" >"$dir/node-$number/server.properties"
    [ -f "$dir/node-$number/data/meta.properties" ] || format "$libs" "$dir/node-$number/server.properties" "$dir/node-$number/format.log"
  done
  keepers=()
  trap 'kill "${keepers[@]}" 2>/dev/null; wait' EXIT
  trap 'exit 0' TERM INT
  for number in $(seq "$count"); do
    keep "$number" "$dir" "$libs" &
    keepers+=($!)
  done
  wait
  ;;
*)
  echo "kafka.sh: unknown command $command (fetch, run or nodes)" >&2
  exit 2
  ;;
esac
