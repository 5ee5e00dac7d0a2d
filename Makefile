# Build output stays in cargo's target directory, outside of the clone.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The steps share cargo's lock, and their output is read in order.
.NOTPARALLEL:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/galera-console
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Servers live in sbin, which an ordinary user's PATH leaves out.
export PATH := $(CACHE)/tools/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin:$(HOME)/.cargo/bin

STEP := scripts/step
# console-hydrate exists for wasm32 only.
WORKSPACE := --workspace --exclude console-hydrate
# With the features that a build can have, so that all of it is compiled once.
HOST := $(WORKSPACE) --features galera-console/otlp
# Features of the console in `make build`: FEATURES=otlp.
FEATURES ?=
# Of the acceptance package only the programs needed: each takes minutes to link in release.
PROGRAMS := -p galera-console -p galera-agent -p acceptance --bin galera-console --bin galera-agent
CODE := fix the error above
# Tests mostly wait for clusters, so more of them run than there are cores.
TEST_THREADS ?= 3

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing for builds, the demo, the tests and the lints
	@scripts/setup lab browser api lint

.PHONY: build
build: ## Release build: galera-console, galera-agent and the site, under cargo's target directory
	@scripts/setup
	@$(STEP) "Release build of galera-console and galera-agent" "$(CODE)" \
	  cargo build --release --locked -p galera-console -p galera-agent --features "$(FEATURES:%=galera-console/%)"
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"
	@printf 'Built: %s\n' "$(CARGO_TARGET_DIR)/release/"{galera-console,galera-agent,site}

.PHONY: site
site: ## The site only, into the release directory
	@scripts/setup
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"

.PHONY: demo
demo: ## Run a console on a real etcd and a real Galera cluster; Ctrl-C stops it
	@scripts/setup lab
	@$(STEP) "Release build of galera-console, galera-agent and the demo" "$(CODE)" \
	  cargo build --release --locked $(PROGRAMS) --bin demo
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"
	@exec "$(CARGO_TARGET_DIR)/release/demo"

.PHONY: test
test: ## All tests: unit, property, API, real etcd and Galera, browser
	@scripts/setup lab browser api chart
	@scripts/setup-packages release
	@$(STEP) "Checks of a release" "what was expected is above" scripts/test-release
	@$(STEP) "Helm chart" "what was expected is above" scripts/test-chart
	@$(STEP) "MariaDB 11.8 beside the installed one" "read the message above; then run this again" \
	  scripts/database-roots trixie
	@$(STEP) "Build of all programs and tests" "$(CODE)" \
	  cargo build --locked $(HOST) --lib --bins --tests --examples
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/debug/site"
	@$(STEP) "Playwright" "check that npm reaches its registry: npm ping" \
	  scripts/npm-install tests/e2e
	@$(STEP) "Tests, in lanes" "a test failed: its output is above; traces of the browser are in tests/e2e/test-results" \
	  env TEST_THREADS=$(TEST_THREADS) scripts/test-lanes

# Rounds that once found a bug are part of `make test`.
.PHONY: test-recovery
test-recovery: ## Two hundred random rounds of faults and recovery; ARGS="--rounds 1 --seed clock:7" repeats one
	@scripts/setup lab
	@$(STEP) "Build of all programs" "$(CODE)" \
	  cargo build --locked -p galera-console -p galera-agent -p acceptance --bins
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/debug/site"
	@$(STEP) "Random rounds of faults and recovery" "a round failed: its journal is above, repeat it with its name" \
	  "$(CARGO_TARGET_DIR)/debug/rounds" $(ARGS)

# Some of its scripts are part of `make test`.
.PHONY: test-specification
test-specification: ## What the simulation takes Galera to do, compared with real servers; ARGS="even_split random:7" plays these
	@scripts/setup lab
	@$(STEP) "Build" "$(CODE)" \
	  cargo build --locked -p galera-agent -p acceptance --bins
	@$(STEP) "Scripts on real servers" "a server does something else: both are above, and the path of the logs" \
	  "$(CARGO_TARGET_DIR)/debug/specification" $(or $(ARGS),--random 20)

# A shorter run from a fixed seed is part of `make test`.
.PHONY: test-api
test-api: ## Generated requests to the API for a quarter of an hour; ARGS="--seed 7 --max-time 60" limits or repeats them
	@scripts/setup lab api
	@$(STEP) "Build of all programs" "$(CODE)" \
	  cargo build --locked $(HOST) --bins
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/debug/site"
	@$(STEP) "Generated requests" "a response is not what docs/openapi.json describes: the request is above, repeat it with --seed" \
	  scripts/test-api --max-time 900 --max-examples 100 $(ARGS)

# Not part of `make test`: it takes a quarter of an hour. One of its releases is.
.PHONY: test-matrix
test-matrix: ## MariaDB 10.5, 10.11 and 11.8, Galera and etcd of their time; ARGS="--release bullseye" plays one
	@scripts/setup lab
	@$(STEP) "Databases of four Debian releases" "read the message above; then run this again" \
	  scripts/database-roots
	@$(STEP) "Build of all programs" "$(CODE)" \
	  cargo build --locked $(HOST) --bins
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/debug/site"
	@$(STEP) "Scenarios on every release" "a scenario failed: its error is above, and the path of the logs" \
	  "$(CARGO_TARGET_DIR)/debug/matrix" $(ARGS)

.PHONY: simulation
simulation: ## Ten thousand simulated schedules of faults and recovery; ARGS="COUNT FIRST_SEED [SAFEGUARD]"
	@$(STEP) "Build of the simulation" "$(CODE)" \
	  cargo build --locked --release -p simulation
	@$(STEP) "Schedules" "a schedule failed: its story is above, repeat it with ARGS=\"1 SEED\"" \
	  "$(CARGO_TARGET_DIR)/release/simulation" $(ARGS)

.PHONY: package
package: build ## The Debian packages of both programs, under cargo's target directory
	@scripts/setup package
	@$(STEP) "Debian packages" "read the message above" \
	  scripts/package release "$(CARGO_TARGET_DIR)/packages"

.PHONY: release
release: ## Programs, packages, SBOM, checksums and signature of the version in Cargo.toml: RELEASE_KEY=FILE (docs/releasing.md)
	@scripts/setup package release
	@$(STEP) "Checks" "see the remedy above" scripts/release check
	@$(STEP) "Build" "$(CODE)" scripts/release build
	@$(STEP) "Checksums and signature" "see the remedy above" scripts/release sign

.PHONY: test-release
test-release: ## What a release is refused for, and its signature
	@scripts/setup-packages release
	@$(STEP) "Checks of a release" "what was expected is above" scripts/test-release

# Not part of `make test`: with a busy machine it takes minutes, and it needs root for chroot.
.PHONY: test-packages
test-packages: ## Debian packages of the debug build: lintian, units, installation, update, removal and purge in a root of Debian 12
	@scripts/setup package
	@$(STEP) "Build of both programs" "$(CODE)" \
	  cargo build --locked -p galera-console -p galera-agent
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/debug/site"
	@$(STEP) "Packages" "a package is wrong: the step and what was expected are above" \
	  scripts/test-packages dev

.PHONY: images
images: ## The container images galera-console, galera-node and galera-etcd
	@$(STEP) "Images" "read the error above; make images continues where it stopped" \
	  scripts/docker-engine scripts/images

# Not part of `make test`: it needs a Docker Engine and half an hour.
.PHONY: test-swarm
test-swarm: ## Real containers in a Swarm, scaled, killed and recovered; ARGS="crash --seed 7" runs one scenario
	@scripts/setup swarm
	@$(STEP) "Build of the scenarios" "$(CODE)" \
	  cargo build --locked -p acceptance --bin swarm
	@$(STEP) "Images" "read the error above; make images continues where it stopped" \
	  scripts/docker-engine scripts/images
	@$(STEP) "Scenarios in a Swarm" "a scenario failed: its observations are above, repeat it with its --seed" \
	  scripts/docker-engine scripts/test-swarm $(ARGS)

.PHONY: lint
lint: ## Formatting, clippy for host and wasm, documentation, shell scripts, alert rules; warnings are errors
	@scripts/setup lint
	@$(STEP) "Formatting" "cargo fmt --all" cargo fmt --all --check
	@$(STEP) "Shell scripts" "fix what shellcheck reports above" \
	  shellcheck --external-sources --source-path=scripts $$(grep -lE '^#!.*(bash|sh)$$|^# shellcheck shell' -r scripts .ci deploy tests/src/bin/documents/programs)
	@$(STEP) "Dependencies" "see deny.toml" \
	  cargo deny --locked check bans licenses sources
	@$(STEP) "Wording and invariants" "write what is suggested above (CONTRIBUTING.md)" \
	  cargo run --quiet --locked -p xtask -- prose
	@$(STEP) "Arrows" "cut the circle above, or allow the arrow in [workspace.metadata.arrows] of Cargo.toml" \
	  cargo run --quiet --locked -p xtask -- arrows
	@$(STEP) "Links" "correct the link or the anchor above" \
	  cargo run --quiet --locked -p xtask -- links
	@$(STEP) "Alert rules" "fix what promtool reports above" \
	  promtool check rules deploy/prometheus/alerts.yml
	@$(STEP) "Alert rules against recorded series" "fix the rule or the expectation that promtool reports above" \
	  promtool test rules deploy/prometheus/alerts.test.yml
	@$(STEP) "Clippy" "fix what clippy reports above" \
	  cargo clippy --locked $(HOST) --all-targets -- -D warnings
	@$(STEP) "Clippy without features" "fix what clippy reports above" \
	  cargo clippy --locked $(WORKSPACE) -- -D warnings
	@$(STEP) "Clippy for wasm" "fix what clippy reports above" \
	  cargo $$(scripts/wasm-toolchain) clippy --locked -p console-hydrate -p galera-console-app --features hydrate \
	  --target wasm32-unknown-unknown --target-dir "$(CARGO_TARGET_DIR)/wasm" -- -D warnings
	@$(STEP) "Documentation" "fix what rustdoc reports above" \
	  env RUSTDOCFLAGS=-Dwarnings cargo doc --locked $(HOST) --no-deps --document-private-items

.PHONY: docs
docs: ## The documents as a site with search, under cargo's target directory
	@scripts/setup docs
	@$(STEP) "Site of the documents" "correct the page above" \
	  cargo run --quiet --locked -p xtask -- book --out "$(CARGO_TARGET_DIR)/docs"
	@printf 'Built: %s\n' "$(CARGO_TARGET_DIR)/docs/index.html"

.PHONY: bench
bench: ## Measure the project's figures on this machine
	@scripts/setup lab browser bench
	@$(STEP) "Release build of all programs" "$(CODE)" \
	  cargo build --release --locked $(PROGRAMS) --bin demo --bin bench
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"
	@$(STEP) "Figures on a real lab" "read the message above" \
	  "$(CARGO_TARGET_DIR)/release/bench"
	@$(STEP) "Playwright" "check that npm reaches its registry: npm ping" \
	  scripts/npm-install tests/e2e
	@$(STEP) "Figures in a browser" "read the message above" \
	  env DEMO="$(CARGO_TARGET_DIR)/release/demo" scripts/browser-tests --config figures.config.ts
	@$(STEP) "Benchmarks" "read the message above" \
	  cargo bench --locked -p galera -p monitor -p galera-console --bench "*"

.PHONY: pictures
pictures: ## The pictures of the README, taken of a real lab, into docs/
	@scripts/setup lab browser
	@$(STEP) "Release build of all programs" "$(CODE)" \
	  cargo build --release --locked $(PROGRAMS) --bin demo
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"
	@$(STEP) "Playwright" "check that npm reaches its registry: npm ping" \
	  scripts/npm-install tests/e2e
	@$(STEP) "Pictures" "read the message above" \
	  env DEMO="$(CARGO_TARGET_DIR)/release/demo" scripts/browser-tests --config shots.config.ts

# Not part of `make bench`: it measures scripted nodes, and runs for minutes.
.PHONY: bench-fleet
bench-fleet: ## What a console of thousands of scripted nodes costs; ARGS="--clusters 50,200 --faults 1" measures others
	@scripts/setup lab
	@$(STEP) "Release build of console and fleet" "$(CODE)" \
	  cargo build --release --locked $(PROGRAMS) --bin fleet
	@$(STEP) "Site" "$(CODE)" \
	  cargo run --quiet --locked -p xtask -- site --out "$(CARGO_TARGET_DIR)/release/site"
	@$(STEP) "Figures of the fleet" "read the message above" \
	  "$(CARGO_TARGET_DIR)/release/fleet" $(ARGS)
