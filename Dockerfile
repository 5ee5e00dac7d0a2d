# The container images, one target each:
#
#   console   galera-console with its site, and etcd for the embedded default
#   node      MariaDB with Galera under galera-agent: any number of identical containers become one cluster
#   etcd      Debian's etcd, for deployments that bring their own registry
#
#   make images, or: docker build --target node --tag galera-node .
#
# Needs BuildKit, for the cache mounts: a change in the code compiles what changed, not the world.
#
# With the build argument SOURCE_DATE_EPOCH (scripts/images passes it on) two builds of a commit differ only where Debian's
# packages were updated in between, and in the times of files unless BuildKit rewrites them (rewrite-timestamp=true).

# ---- What builds need: scripts/setup's steps. Debian's Rust compiler and a WebAssembly target, no rustup.
FROM debian:bookworm-slim AS toolchain
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/lib.sh scripts/install-packages scripts/setup-packages scripts/setup-wasm scripts/wasm-toolchain scripts/build-wasm-std scripts/
RUN scripts/setup-packages build \
 && scripts/setup-wasm \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives /root/.cargo/registry
COPY .npmrc ./
COPY scripts/npm-install scripts/
COPY scripts/site-tools scripts/site-tools
RUN scripts/npm-install scripts/site-tools
ENV CARGO_TARGET_DIR=/var/cache/target

# Another checkout may have built with the same caches: nothing of ours may look older than what that left behind.
FROM toolchain AS source
COPY . .
RUN find . -path ./scripts -prune -o -type f -exec touch {} +

FROM source AS build-agent
# What --version shows: the image is built without the git tree.
ARG GALERA_BUILD_COMMIT
RUN --mount=type=cache,id=galera-cargo,target=/root/.cargo/registry,sharing=locked \
    --mount=type=cache,id=galera-target,target=/var/cache/target,sharing=locked \
    cargo build --release --locked -p galera-agent \
 && install -D --target-directory=/out "$CARGO_TARGET_DIR/release/galera-agent"

FROM source AS build-console
ARG GALERA_BUILD_COMMIT
# Such as otlp.
ARG CONSOLE_FEATURES=
RUN --mount=type=cache,id=galera-cargo,target=/root/.cargo/registry,sharing=locked \
    --mount=type=cache,id=galera-target,target=/var/cache/target,sharing=locked \
    cargo build --release --locked -p galera-console --features "$CONSOLE_FEATURES" \
 && cargo run --locked -p xtask -- site --out /out/site \
 && install -D --target-directory=/out "$CARGO_TARGET_DIR/release/galera-console"

# ---- etcd
FROM debian:bookworm-slim AS etcd
# useradd records the day; unset, it is today.
ARG SOURCE_DATE_EPOCH
# Fixed ids, so that a volume belongs to the same user in every build.
RUN groupadd --gid 991 etcd \
 && useradd --uid 991 --gid etcd --home-dir /var/lib/etcd --shell /usr/sbin/nologin etcd \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends etcd-client etcd-server \
 && rm -rf /var/lib/apt/lists/* /var/lib/etcd/* /var/log/* /var/cache/ldconfig /var/cache/apt/* \
 && install -d -o etcd -g etcd -m 0700 /var/lib/etcd
LABEL org.opencontainers.image.title="etcd of Galera Console" \
      org.opencontainers.image.description="Debian's etcd, for deployments without one" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV ETCD_DATA_DIR=/var/lib/etcd \
    ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380 \
    ETCD_AUTO_COMPACTION_RETENTION=5m ETCD_QUOTA_BACKEND_BYTES=4294967296 \
    ETCDCTL_API=3
USER etcd
VOLUME /var/lib/etcd
EXPOSE 2379 2380
# No HEALTHCHECK: orchestrators give an unhealthy container no name, and without names a new cluster has no majority.
ENTRYPOINT ["etcd"]
# Last: they change with each commit.
ARG GALERA_VERSION=unknown
ARG GALERA_BUILD_COMMIT=unknown
ARG GALERA_BUILD_TIME=unknown
LABEL org.opencontainers.image.version="$GALERA_VERSION" \
      org.opencontainers.image.revision="$GALERA_BUILD_COMMIT" \
      org.opencontainers.image.created="$GALERA_BUILD_TIME" \
      org.opencontainers.image.base.name="debian:bookworm-slim"

# ---- The console
FROM debian:bookworm-slim AS console
# useradd records the day; unset, it is today.
ARG SOURCE_DATE_EPOCH
RUN groupadd --gid 990 galera-console \
 && useradd --uid 990 --gid galera-console --home-dir /var/lib/galera-console --shell /usr/sbin/nologin galera-console \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends etcd-server \
 && rm -rf /var/lib/apt/lists/* /var/lib/etcd /var/log/* /var/cache/ldconfig /var/cache/apt/* \
 && install -d -o galera-console -g galera-console -m 0700 /var/lib/galera-console \
 && ln -s /opt/galera-console/galera-console /usr/local/bin/galera-console
LABEL org.opencontainers.image.title="Galera Console" \
      org.opencontainers.image.description="Shows Galera clusters that find each other through etcd" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --chmod=0755 deploy/images/console-healthy /usr/local/bin/
# The site is looked for beside the program.
COPY --from=build-console /out /opt/galera-console
ENV GALERA_CONSOLE_LISTEN=0.0.0.0:3000 \
    GALERA_CONSOLE_DATA_DIR=/var/lib/galera-console
USER galera-console
WORKDIR /var/lib/galera-console
VOLUME /var/lib/galera-console
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["console-healthy"]
ENTRYPOINT ["galera-console"]
CMD ["serve"]
# Last: they change with each commit.
ARG GALERA_VERSION=unknown
ARG GALERA_BUILD_COMMIT=unknown
ARG GALERA_BUILD_TIME=unknown
LABEL org.opencontainers.image.version="$GALERA_VERSION" \
      org.opencontainers.image.revision="$GALERA_BUILD_COMMIT" \
      org.opencontainers.image.created="$GALERA_BUILD_TIME" \
      org.opencontainers.image.base.name="debian:bookworm-slim"

# ---- A node of a homogeneous cluster
FROM debian:bookworm-slim AS node
# useradd records the day; unset, it is today.
ARG SOURCE_DATE_EPOCH
# The server's package makes a data directory; ours begin empty, so that the agent sees what they are.
RUN groupadd --gid 999 mysql \
 && useradd --uid 999 --gid mysql --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin mysql \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      galera-4 iproute2 mariadb-backup mariadb-client mariadb-server rsync socat tzdata \
 && rm -rf /var/lib/apt/lists/* /var/lib/mysql /var/log/* /etc/mysql/* /var/cache/ldconfig /var/cache/apt/* \
 && install -d -o mysql -g mysql -m 0750 /var/lib/mysql /run/mysqld \
 && install -d /etc/my.cnf.d
# A donor waits ten seconds for the joiner's port, needed or not. node.cnf lets it try again instead.
RUN sed -i 's/^\( *sleep\) 10$/\1 1/' /usr/bin/wsrep_sst_mariabackup
LABEL org.opencontainers.image.title="Galera node" \
      org.opencontainers.image.description="MariaDB with Galera under galera-agent; identical containers form one cluster" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only"
COPY deploy/images/node.cnf /etc/mysql/my.cnf
COPY --from=build-agent /out/galera-agent /usr/local/bin/
# `galera-agent check` does not depend on port 9200, which other hosts can reach.
ENV LIVENESS_SOCKET=/run/mysqld/galera-agent.sock
USER mysql
WORKDIR /var/lib/mysql
VOLUME /var/lib/mysql
# SQL; group communication, incremental and whole state transfer; health.
EXPOSE 3306 4567 4568 4444 9200
STOPSIGNAL SIGTERM
# Alive, not Synced: an orchestrator kills what is unhealthy, and a node without a Primary component must be left alone.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 CMD ["galera-agent", "check", "--live"]
ENTRYPOINT ["galera-agent", "run", "--"]
CMD ["mariadbd"]
# Last: they change with each commit.
ARG GALERA_VERSION=unknown
ARG GALERA_BUILD_COMMIT=unknown
ARG GALERA_BUILD_TIME=unknown
LABEL org.opencontainers.image.version="$GALERA_VERSION" \
      org.opencontainers.image.revision="$GALERA_BUILD_COMMIT" \
      org.opencontainers.image.created="$GALERA_BUILD_TIME" \
      org.opencontainers.image.base.name="debian:bookworm-slim"
