# The few commands of the project. `make` alone lists them.
#
# The default profile is Cargo's dev: the dependencies are optimised there, and a cold `make demo` is minutes faster than with
# the release profile. `make run PROFILE=release` is what to measure.

PROFILE ?= dev
CARGO_RUN = cargo run --quiet --locked --profile $(PROFILE) -p device-manager --

# For --version. Empty outside a git clone.
export GIT_COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup build demo run test lint skew fuzz mutants isolation bench compare callgrind generated prepared clean

help: ## List the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Install what is missing (Debian packages, Kafka's jars); does nothing when all is there
	@sh .ci/setup

build: setup ## Build the binary: target/debug/device-manager, or target/release with PROFILE=release
	cargo build --locked --profile $(PROFILE) -p device-manager

# What a shell took from .device-manager/env names servers that may be gone, and would be used instead of new ones.
OWN_SERVERS = env -u KAFKA_BOOTSTRAP_SERVERS -u DATABASE_URL

demo: build ## Start everything, send payloads of three formats, show the readings that came of them, stop
	@$(OWN_SERVERS) $(CARGO_RUN) up --demo --once --http-port 0 --management-address 127.0.0.1:0

run: build ## The same, and stay up until Ctrl-C
	@$(OWN_SERVERS) $(CARGO_RUN) up --demo

test: setup ## Run all tests against a real Kafka and a real Postgres that they start themselves
	cargo test --workspace --locked

lint: ## Format check, clippy, docs, dependency rules
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
	cargo deny --locked check bans licenses sources

skew: setup ## Test this release beside a next one, with newer events and tables, that is built of a patched copy
	tests/skew/run

# What every target asserts stands in fuzz/src/lib.rs.
SECONDS ?= 20
fuzz: setup ## Fuzz each format and the check of the ingress, each for SECONDS=20
	PATH="$(CURDIR)/target/tools/bin:$$PATH" fuzz/run $(SECONDS)

# docs/mutants.md says what survived. In the work tree, as a copy would build everything anew.
SHARD ?= 0/16
mutants: setup ## Alter the mapping code and see whether a test notices, one SHARD=0/16 at a time (needs cargo-mutants)
	git diff --quiet HEAD
	cargo mutants --in-place --shard $(SHARD) --timeout 60 --output target

# The smoke of it is part of `make test`; here it takes some ten minutes and wants the machine for itself.
isolation: setup ## Measure an honest sender beside hostile ones, and beside an export of 300 MB, on the release build
	@echo "commit $(GIT_COMMIT)"
	ISOLATION_SECONDS=60 ISOLATION_P99_MS=2000 ISOLATION_EXPORT_MB=300 ISOLATION_MORE_MS=1000 \
		cargo test --release --locked -p device-manager --test end_to_end isolation -- --nocapture

bench: ## Measure against the stated peers and limits; writes bench/results
	@sh .ci/setup bench
	cargo build --release --locked -p device-manager -p bench
	target/release/bench

# What a change costs beside another build, OLD=path/to/device-manager; `make bench` says what is measured of one build.
compare: ## Compare this build with OLD=BINARY of another by processor time and instructions
	@sh .ci/setup bench
	cargo build --release --locked -p device-manager -p bench
	target/release/bench --against $(OLD)

callgrind: ## Count the instructions of the pure mapping, beside those of OLD=BINARY where it is given (needs valgrind)
	cargo build --release --locked -p device-manager -p bench
	target/release/bench --only instructions $(if $(OLD),--against $(OLD))

generated: build ## Rewrite the files that are generated from the code; a test wants no difference
	@$(CARGO_RUN) docs docs

prepared: setup ## Check all static SQL against the tables, and write what the compiler needs of it to .sqlx/
	store/prepare

clean: ## Remove what was built, and the embedded data
	for data in .device-manager/postgres target/tmp/*/postgres; do [ ! -L $$data ] || rm -rf "$$(readlink $$data)"; done
	rm -rf .device-manager
	cargo clean
