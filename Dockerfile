FROM rust:1-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends clang libclang-dev libssl-dev pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they are compiled again only when the lock file changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src examples \
 && echo 'fn main() {}' > src/main.rs && cp src/main.rs examples/bench.rs && cp src/main.rs examples/instance.rs && touch src/lib.rs \
 && cargo build --release --locked && rm -r src examples
COPY . .
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --bin millstream

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --home-dir /var/lib/millstream millstream
COPY --from=build /src/target/release/millstream /usr/local/bin/millstream
COPY topologies /etc/millstream/topologies
COPY schemas /etc/millstream/schemas
USER millstream
WORKDIR /var/lib/millstream
EXPOSE 8080
ENTRYPOINT ["millstream"]
CMD ["run"]
