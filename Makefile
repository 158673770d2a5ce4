# `make demo` runs the main job on the embedded broker; `make test` passes the tests. Both build with the same profile.
.PHONY: demo test setup lint docs test-core test-kafka test-kafka-long test-compose test-faults soak simulate nightly nightly-simulation bench bench-all bench-quick bench-recovery bench-cost

demo: setup
	cargo run --quiet --bin millstream -- dev

test: setup
	cargo test --locked

setup:
	@scripts/setup.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# The code's documentation, docs/settings.md from the table of settings, and the tables of docs/sql.md.
docs:
	cargo run --quiet --locked -- docs > docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	cargo run --quiet --locked -- docs docs/sql.md > docs/sql.md.new && mv docs/sql.md.new docs/sql.md
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# The core without the C++ builds.
test-core:
	cargo test --locked --no-default-features

# Instances that die, move and come back on Apache Kafka. KAFKA_VERSION picks the version, KILLS how often they are killed, NODES how many brokers there are.
test-kafka:
	@scripts/setup.sh kafka
	tests/kafka/run.sh

# The long form: three brokers, which die, too.
test-kafka-long:
	@scripts/setup.sh kafka
	NODES=$${NODES:-3} KILLS=$${KILLS:-200} tests/kafka/run.sh

# One scenario of the simulation: SEED=number makes and runs it, CASE=path replays a file of tests/simulation.
simulate: setup
	SIMULATE=$(abspath $(CASE)) MILLSTREAM_SEED=$(SEED) cargo test --locked --test it simulation::random::$(if $(CASE),replay,generated) -- --nocapture

# The long forms of the tests.
nightly: nightly-simulation test-kafka-long test-faults soak

# SEEDS generated scenarios, and the golden cases with SEEDS/50 seeds each; a third of them takes a quarter of an hour.
nightly-simulation: setup
	MILLSTREAM_SEEDS=$(or $(SEEDS),10000) cargo test --locked --test it -- --nocapture simulation::random::generated simulation::golden

# The long fault tests (RELIABILITY.md): networks, disks, frozen instances, and a kill in every phase of a commit.
test-faults: setup
	MILLSTREAM_FAULTS=1 cargo test --locked --features failpoints --test it -- --nocapture faults::

# MINUTES of a demo-like load; the process's memory must stay within its budget and not grow.
soak: setup
	MILLSTREAM_SOAK_MINUTES=$${MINUTES:-20} cargo test --locked --test it -- --nocapture faults::soak

test-compose:
	@scripts/setup.sh kafka compose
	scripts/compose-test.sh

# BENCHMARKS.md: the first table, beside Kafka Streams and the client library, in less than half an hour.
bench:
	@scripts/setup.sh kafka cost
	bench/run.py

# All of BENCHMARKS.md; ONLY=rest,nexmark,growth picks parts.
bench-all:
	@scripts/setup.sh kafka cost
	bench/run.py all

# Three rows in about three minutes, printed only.
bench-quick:
	@scripts/setup.sh kafka
	bench/run.py quick

# Instructions of a record in a task, which must not grow by a tenth beyond bench/cost.json; RECORD=1 puts new ones there.
bench-cost:
	@scripts/setup.sh cost
	bench/cost.py

# Time to recover after kill -9, a lost disk and a clean restart, beside Kafka Streams; puts the table into RELIABILITY.md. KEYS and RECORDS set the size.
bench-recovery:
	@scripts/setup.sh kafka
	bench/recovery.py
