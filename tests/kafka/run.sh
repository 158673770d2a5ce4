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

# a login over plain text and one over TLS, beside the open listener
keytool -genkeypair -alias kafka -keyalg RSA -storetype PKCS12 -keystore "$work/keys.p12" -storepass changeit -validity 2 \
  -dname CN=localhost -ext SAN=ip:127.0.0.1,dns:localhost >"$work/keytool.log" 2>&1
keytool -exportcert -rfc -alias kafka -keystore "$work/keys.p12" -storepass changeit >"$work/ca.pem" 2>>"$work/keytool.log"
module=org.apache.kafka.common.security
cat >"$work/login.properties" <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),LOGIN://127.0.0.1:$((port + 2)),TLS://127.0.0.1:$((port + 3))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,LOGIN://127.0.0.1:$((port + 2)),TLS://127.0.0.1:$((port + 3))
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PKCS12
ssl.keystore.location=$work/keys.p12
ssl.keystore.password=changeit
PROPERTIES
for listener in login tls; do
  cat >>"$work/login.properties" <<PROPERTIES
listener.name.$listener.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_mill="stream";
listener.name.$listener.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.$listener.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="mill";
PROPERTIES
done

# built before Kafka takes its share of the machine
cargo test --locked --features failpoints --test it --no-run
scripts/kafka.sh fetch "$MILLSTREAM_TEST_KAFKA_VERSION"
KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m} scripts/kafka.sh run "$work" "$port" "$MILLSTREAM_TEST_KAFKA_VERSION" "$work/login.properties" >"$work/kafka.log" 2>&1 &
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
libs=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/kafka-$MILLSTREAM_TEST_KAFKA_VERSION
java -cp "$libs/*" kafka.admin.ConfigCommand --bootstrap-server "$MILLSTREAM_TEST_KAFKA" --alter --add-config 'SCRAM-SHA-512=[password=stream]' \
  --entity-type users --entity-name mill >"$work/scram.log" 2>&1 ||
  java -cp "$libs/*" org.apache.kafka.tools.ConfigCommand --bootstrap-server "$MILLSTREAM_TEST_KAFKA" --alter --add-config 'SCRAM-SHA-512=[password=stream]' \
    --entity-type users --entity-name mill >"$work/scram.log" 2>&1 || { cat "$work/scram.log"; exit 1; }
export MILLSTREAM_TEST_KAFKA_LOGIN=127.0.0.1:$((port + 2)) MILLSTREAM_TEST_KAFKA_TLS=127.0.0.1:$((port + 3)) MILLSTREAM_TEST_KAFKA_CA=$work/ca.pem
cargo test --locked --features failpoints --test it -- --test-threads=2 kafka_log kafka_login
cargo test --locked --features failpoints --test it -- --nocapture jobs::
