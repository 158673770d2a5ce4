#!/usr/bin/env bash
# Starts Apache Kafka from its published jars and runs against it: the tests of the Kafka log, then instances under load that are started, stopped and
# killed (tests/it/jobs).
#
#   KAFKA_VERSION   which Kafka (4.3.1)
#   KILLS           how often instances are killed (20)
#   NODES           how many nodes (1); with three, brokers are killed, too, and the tests of the Kafka log are left out
#   KAFKA_PORT      where Kafka listens; the five ports after it are used, too (six free ones)
set -euo pipefail
cd "$(dirname "$0")/../.."
export MILLSTREAM_TEST_KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
# below the ports that the system gives to outgoing connections: those may be taken between the look and Kafka's start
free_ports='
import random, socket
def free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return s.connect_ex(("127.0.0.1", port)) != 0 and not s.bind(("127.0.0.1", port))
def fits(port):
    try:
        return all(free(port + n) for n in range(6))
    except OSError:
        return False
print(next(port for port in iter(lambda: random.randrange(20000, 32000), None) if fits(port)))'
port=${KAFKA_PORT:-$(python3 -c "$free_ports")}
nodes=${NODES:-1}
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

# a dead member of a group of KIP-848 is replaced as soon as one of the classic protocol, whose session is the member's
cat >"$work/more.properties" <<PROPERTIES
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
PROPERTIES
libs=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/kafka-$MILLSTREAM_TEST_KAFKA_VERSION
tool() { java -cp "$libs/*" "$@"; }

# a login over plain text and one over TLS, beside the open listener
add_logins() {
  keytool -genkeypair -alias kafka -keyalg RSA -storetype PKCS12 -keystore "$work/keys.p12" -storepass changeit -validity 2 \
    -dname CN=localhost -ext SAN=ip:127.0.0.1,dns:localhost >"$work/keytool.log" 2>&1
  keytool -exportcert -rfc -alias kafka -keystore "$work/keys.p12" -storepass changeit >"$work/ca.pem" 2>>"$work/keytool.log"
  module=org.apache.kafka.common.security
  cat >>"$work/more.properties" <<PROPERTIES
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1)),LOGIN://127.0.0.1:$((port + 2)),TLS://127.0.0.1:$((port + 3))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,LOGIN://127.0.0.1:$((port + 2)),TLS://127.0.0.1:$((port + 3))
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PKCS12
ssl.keystore.location=$work/keys.p12
ssl.keystore.password=changeit
PROPERTIES
  for listener in login tls; do
    cat >>"$work/more.properties" <<PROPERTIES
listener.name.$listener.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_mill="stream";
listener.name.$listener.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.$listener.oauthbearer.sasl.jaas.config=$module.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="mill";
PROPERTIES
  done
}
[ "$nodes" -gt 1 ] || add_logins

# built before Kafka takes its share of the machine
cargo test --locked --features failpoints --test it --no-run
scripts/kafka.sh fetch "$MILLSTREAM_TEST_KAFKA_VERSION"
export KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m}
if [ "$nodes" -gt 1 ]; then
  scripts/kafka.sh nodes "$nodes" "$work" "$port" "$MILLSTREAM_TEST_KAFKA_VERSION" "$work/more.properties" >"$work/kafka.log" 2>&1 &
  for node in $(seq 2 "$nodes"); do
    MILLSTREAM_TEST_KAFKA+=,127.0.0.1:$((port + 2 * (node - 1)))
  done
  export MILLSTREAM_TEST_KAFKA_NODES=$work
else
  scripts/kafka.sh run "$work" "$port" "$MILLSTREAM_TEST_KAFKA_VERSION" "$work/more.properties" >"$work/kafka.log" 2>&1 &
fi
kafka=$!
printf "%s\n" request.timeout.ms=10000 default.api.timeout.ms=10000 >"$work/admin.properties"
# a topic on all nodes and a login that Kafka has taken show that it is ready
ready() {
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$MILLSTREAM_TEST_KAFKA" --command-config "$work/admin.properties" \
    --create --if-not-exists --topic ready --partitions 1 --replication-factor "$nodes" >"$work/ready.log" 2>&1 &&
    tool kafka.admin.ConfigCommand --bootstrap-server "$MILLSTREAM_TEST_KAFKA" --command-config "$work/admin.properties" \
      --alter --add-config 'SCRAM-SHA-512=[password=stream]' --entity-type users --entity-name mill >>"$work/ready.log" 2>&1
}
for attempt in $(seq 12); do
  if ready; then
    started=$attempt
    break
  fi
  kill -0 "$kafka" 2>/dev/null || break
done
if [ -z "${started:-}" ]; then
  tail -n 50 "$work/kafka.log" "$work/ready.log"
  echo "Apache Kafka $MILLSTREAM_TEST_KAFKA_VERSION did not start on $port" >&2
  exit 1
fi
echo "Apache Kafka $MILLSTREAM_TEST_KAFKA_VERSION listens on $MILLSTREAM_TEST_KAFKA"
run_tests() { cargo test --locked --features failpoints --test it -- "$@"; }
if [ "$nodes" -gt 1 ]; then
  # owners are compared while no broker dies
  run_tests --nocapture --test-threads=2 jobs::moves
  run_tests --nocapture --test-threads=2 jobs:: --skip jobs::moves
else
  export MILLSTREAM_TEST_KAFKA_LOGIN=127.0.0.1:$((port + 2)) MILLSTREAM_TEST_KAFKA_TLS=127.0.0.1:$((port + 3)) MILLSTREAM_TEST_KAFKA_CA=$work/ca.pem
  run_tests --test-threads=2 kafka_log kafka_login
  run_tests --nocapture --test-threads=2 jobs::
fi

# the coordinators' word that every transaction of the instances has ended
for attempt in $(seq 12); do
  tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$MILLSTREAM_TEST_KAFKA" list >"$work/transactions.log" 2>&1 || continue
  if ! grep -E '^(aggregates|answers|moves|sample)-' "$work/transactions.log" | grep -vE '(Complete(Commit|Abort)|Empty|Dead)[[:space:]]*$' >"$work/open.log"; then
    echo "all $(grep -cE '^(aggregates|answers|moves|sample)-' "$work/transactions.log") transactional producers have ended their transactions"
    ended=$attempt
    break
  fi
done
if [ -z "${ended:-}" ]; then
  cat "$work/open.log" || cat "$work/transactions.log"
  echo "transactions were left open" >&2
  exit 1
fi
