#!/usr/bin/env bash
# Checks docker-compose.yml: that docker-compose reads it, that health checks, advertised listeners and volumes are there, and that Apache Kafka
# starts with the very settings that the file gives its container (from the jars; host names become localhost).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'kill "${kafka:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
docker-compose config >"$work/config.yml"
/usr/bin/python3 - "$work" <<'PYTHON'
import socket, sys
import yaml

work = sys.argv[1]
config = yaml.safe_load(open(f"{work}/config.yml"))
services = config["services"]
assert set(services) == {"kafka", "schema-registry", "millstream"}, services.keys()
for name, service in services.items():
    assert service.get("healthcheck", {}).get("test"), f"{name} has no health check"
    assert all(str(port).startswith("127.0.0.1:") for port in service["ports"]), f"{name} listens beyond loopback"
for name in ("kafka", "millstream"):
    named = [str(v).split(":")[0] for v in services[name]["volumes"]]
    assert any(v in config["volumes"] for v in named), f"{name} keeps its data in no volume"

settings = services["kafka"]["environment"]
advertised = dict(item.split("://", 1) for item in settings["KAFKA_ADVERTISED_LISTENERS"].split(","))
assert advertised["OUTSIDE"] == "localhost:9092" and advertised["INSIDE"].startswith("kafka:"), advertised
inside = advertised["INSIDE"]
assert services["millstream"]["environment"]["MILLSTREAM_BOOTSTRAP_SERVERS"] == inside
assert services["schema-registry"]["environment"]["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"].endswith(inside)

ports = {}
def free(port):
    """The container's port, or a free one of this machine: other tests may use the real one."""
    if port not in ports:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            ports[port] = str(s.getsockname()[1])
    return ports[port]

with open(f"{work}/server.properties", "w") as out:
    for name, value in settings.items():
        if not name.startswith("KAFKA_"):
            continue
        for port in ("19092", "9092", "9093"):
            value = str(value).replace(f":{port}", f":\0{port}\0")
        for port in ("19092", "9092", "9093"):
            value = value.replace(f"\0{port}\0", free(port))
        value = value.replace("kafka:", "localhost:").replace("://:", "://localhost:")
        if name == "KAFKA_LOG_DIRS":
            value = f"{work}/data"
        out.write(f"{name[6:].lower().replace('_', '.')}={value}\n")
open(f"{work}/port", "w").write(free("9092"))
open(f"{work}/cluster", "w").write(settings["CLUSTER_ID"])
PYTHON
scripts/kafka.sh fetch
libs=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/kafka-4.3.1
java -cp "$libs/*" org.apache.kafka.tools.StorageTool format -t "$(cat "$work/cluster")" -c "$work/server.properties" >"$work/format.log" 2>&1 ||
  java -cp "$libs/*" kafka.tools.StorageTool format -t "$(cat "$work/cluster")" -c "$work/server.properties" >"$work/format.log" 2>&1 ||
  { cat "$work/format.log"; exit 1; }
java -Xmx512m -cp "$libs/*" kafka.Kafka "$work/server.properties" >"$work/kafka.log" 2>&1 &
kafka=$!
for _ in $(seq 60); do
  if java -cp "$libs/*" org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "localhost:$(cat "$work/port")" >"$work/api.log" 2>&1; then
    echo "compose: docker-compose.yml is sound, and Kafka starts with its settings"
    exit 0
  fi
  kill -0 "$kafka" || break
done
cat "$work/kafka.log" "$work/api.log"
echo "compose: Kafka did not start with the settings of docker-compose.yml" >&2
exit 1
