#!/usr/bin/env bash
# Apache Kafka, one KRaft node, from its published jars: for tests and benchmarks, not for production.
#
#   scripts/kafka.sh fetch [VERSION]                      download the jars (Maven; kept in ${XDG_CACHE_HOME:-~/.cache}/millstream)
#   scripts/kafka.sh run DIR PORT [VERSION] [PROPERTIES]  run in the foreground, data under DIR; PROPERTIES: a file of further settings
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

format() {
  local id class
  # the first letter is ours: an id that begins with a hyphen reads as an option
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
  id=M${id:1}
  # the tool moved between packages in 3.x
  for class in kafka.tools.StorageTool org.apache.kafka.tools.StorageTool; do
    if java -cp "$1/*" "$class" format -t "$id" -c "$2" >>"$3" 2>&1; then return; fi
  done
  cat "$3" >&2
  return 1
}

case $command in
fetch) fetch "${2:-$default_version}" ;;
run)
  dir=$(mkdir -p "${2:?DIR}" && cd "$2" && pwd)
  port=${3:?PORT}
  version=${4:-$default_version}
  extra=${5:-}
  fetch "$version"
  libs=$cache/kafka-$version
  {
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# test data carries old timestamps; retention goes by them
log.retention.ms=-1
PROPERTIES
    [ -z "$extra" ] || cat "$extra"
  } >"$dir/server.properties"
  [ -f "$dir/data/meta.properties" ] || format "$libs" "$dir/server.properties" "$dir/format.log"
  # shellcheck disable=SC2086 # the heap setting is several words
  exec java ${KAFKA_HEAP_OPTS:--Xms256m -Xmx1g} -cp "$libs/*" kafka.Kafka "$dir/server.properties"
  ;;
*)
  echo "kafka.sh: unknown command $command (fetch or run)" >&2
  exit 2
  ;;
esac
