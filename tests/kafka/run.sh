#!/usr/bin/env bash
# Starts Apache Kafka from its published jars and runs against it: the tests of the Kafka log, then both jobs under `kill -9`.
#
#   KAFKA_VERSION   which Kafka (4.3.1)
#   KILLS           how often the jobs are killed (20)
#   KAFKA_PORT      where Kafka listens (a free port)
set -euo pipefail
cd "$(dirname "$0")/../.."
export MILLSTREAM_TEST_KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
port=${KAFKA_PORT:-$(/usr/bin/env python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
export MILLSTREAM_TEST_KAFKA=127.0.0.1:$port
work=$(mktemp -d)
cleanup() {
  if [ -n "${kafka:-}" ]; then
    kill "$kafka" 2>/dev/null || true
    wait "$kafka" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

# built before Kafka takes its share of the machine
cargo test --locked --features failpoints --test it --no-run
scripts/kafka.sh fetch "$MILLSTREAM_TEST_KAFKA_VERSION"
KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m} scripts/kafka.sh run "$work" "$port" "$MILLSTREAM_TEST_KAFKA_VERSION" >"$work/kafka.log" 2>&1 &
kafka=$!
for _ in $(seq 300); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    started=1
    break
  fi
  kill -0 "$kafka" 2>/dev/null || break
  sleep 0.2
done
if [ -z "${started:-}" ]; then
  cat "$work/kafka.log"
  echo "Apache Kafka $MILLSTREAM_TEST_KAFKA_VERSION did not start" >&2
  exit 1
fi
echo "Apache Kafka $MILLSTREAM_TEST_KAFKA_VERSION listens on $port"
cargo test --locked --features failpoints --test it -- --test-threads=2 kafka_log
cargo test --locked --features failpoints --test it -- --nocapture jobs::
