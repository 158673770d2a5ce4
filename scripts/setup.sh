#!/usr/bin/env bash
# Installs what building and testing Millstream need on Debian or Ubuntu, saying what and why.
#
#   scripts/setup.sh           to build and run:   RocksDB and librdkafka are C++, bindings need libclang, TLS needs OpenSSL
#   scripts/setup.sh kafka     also for tests against Apache Kafka: Java and Maven
#   scripts/setup.sh browser   also for the test of the page: Chromium (the test skips without it)
#   scripts/setup.sh cost      also for counting instructions: Valgrind
#   scripts/setup.sh compose   also for checking docker-compose.yml: docker-compose
set -euo pipefail
declare -A why=(
  [g++]="compiles RocksDB and librdkafka"
  [make]="builds librdkafka"
  [clang]="reads RocksDB's headers for the bindings"
  [libclang-dev]="reads RocksDB's headers for the bindings"
  [pkg-config]="finds OpenSSL"
  [libssl-dev]="TLS to Kafka and to the registry"
  [zlib1g-dev]="gzip in librdkafka"
  [openssl]="serves TLS in a test of the registry's client"
  [default-jdk-headless]="runs Apache Kafka and the Kafka Streams peer from their jars"
  [maven]="fetches those jars"
  [python3]="runs the benchmark"
  [chromium]="tests the page as a person sees it"
  [chromium-driver]="tests the page as a person sees it"
  [valgrind]="counts instructions"
  [docker-compose]="checks docker-compose.yml"
)
wanted=(g++ make clang libclang-dev pkg-config libssl-dev openssl zlib1g-dev)
for group in "$@"; do
  case $group in
  kafka)
    command -v java >/dev/null || wanted+=(default-jdk-headless)
    command -v mvn >/dev/null || wanted+=(maven)
    command -v python3 >/dev/null || wanted+=(python3)
    ;;
  browser) wanted+=(chromium chromium-driver) ;;
  compose) wanted+=(docker-compose) ;;
  cost)
    wanted+=(valgrind)
    command -v python3 >/dev/null || wanted+=(python3)
    ;;
  *)
    echo "setup.sh: unknown group $group (kafka, browser, cost or compose)" >&2
    exit 2
    ;;
  esac
done
if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is not Debian. Needed before 'cargo build': a C++ compiler, make, libclang, pkg-config, OpenSSL and zlib with headers." >&2
  exit 0
fi
missing=()
for package in "${wanted[@]}"; do
  if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
    echo "setup: $package is missing: ${why[$package]}"
    missing+=("$package")
  fi
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: please run as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
