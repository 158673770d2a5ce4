# `make demo` runs the main job on the embedded broker; `make test` passes the tests. Both build with the same profile.
.PHONY: demo test setup lint docs test-core test-kafka test-compose bench bench-quick

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

# Crashes against Apache Kafka. KAFKA_VERSION picks the version, KILLS how often the process is killed.
test-kafka:
	@scripts/setup.sh kafka
	tests/kafka/run.sh

test-compose:
	@scripts/setup.sh kafka compose
	scripts/compose-test.sh

bench:
	@scripts/setup.sh kafka
	bench/run.py

bench-quick:
	@scripts/setup.sh kafka
	QUICK=1 bench/run.py
