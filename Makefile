# The commands of the project. `make` without a target lists them.
#
# The default profile is Cargo's dev: it optimises the dependencies, and a cold `make demo` is minutes faster than with the release
# profile. For measurements use `make run PROFILE=release`.

PROFILE ?= dev
CARGO_RUN = cargo run --quiet --locked --profile $(PROFILE) -p device-manager --

# Shown by --version. Empty outside a git clone.
export GIT_COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup build demo run test lint skew fuzz chaos oracle mutants isolation replay outage bench compare callgrind generated prepared \
    clean

help: ## List the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Install missing Debian packages and Kafka's jars; does nothing if all are installed
	@sh .ci/setup

build: setup ## Build the binary: target/debug/device-manager, or target/release with PROFILE=release
	@[ -d target/$(PROFILE:dev=debug)/deps ] || echo "build: the first build compiles all dependencies and takes about 5 minutes on 2 cores"
	cargo build --locked --profile $(PROFILE) -p device-manager

# A shell that has read .device-manager/env may name servers that no longer run. Without these variables, `up` starts its own.
OWN_SERVERS = env -u KAFKA_BOOTSTRAP_SERVERS -u DATABASE_URL

demo: build ## Start everything, send payloads of three formats, show the resulting readings, stop
	@$(OWN_SERVERS) $(CARGO_RUN) up --demo --once --http-port 0 --management-address 127.0.0.1:0

run: build ## The same as demo, but keep running until Ctrl-C
	@$(OWN_SERVERS) $(CARGO_RUN) up --demo

test: setup ## Run all tests; they start a real Kafka and a real Postgres themselves
	cargo test --workspace --locked --no-fail-fast

lint: ## Check format, clippy, rustdoc and the dependency rules
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked
	cargo deny --locked check bans licenses sources

skew: setup ## Test this release beside a next release, built from a patched copy with newer events and tables
	tests/skew/run

# What each target asserts is defined in fuzz/src/lib.rs.
SECONDS ?= 20
fuzz: setup ## Fuzz each format and the well-formedness check of the ingress, each for SECONDS=20
	PATH="$(CURDIR)/target/tools/bin:$$PATH" fuzz/run $(SECONDS)

# The results of a commit are in target/chaos, one line of JSON for each seed. A run that was interrupted continues after the last one.
# docs/reliability.md explains the faults, and has the results of a run.
SEEDS ?= 50
CHAOS_COMMIT = $(GIT_COMMIT)$(shell git diff --quiet HEAD 2>/dev/null || echo -changed)
chaos: setup ## Inject faults under traffic, with SEEDS=50 seeds of about a minute each, and look for what was accepted
	cargo build --locked --profile $(PROFILE) -p device-manager --features fail-points
	@echo "commit $(CHAOS_COMMIT)"
	$(OWN_SERVERS) GIT_COMMIT=$(CHAOS_COMMIT) target/$(PROFILE:dev=debug)/device-manager chaos \
		--seeds $(SEEDS) --results target/chaos/$(CHAOS_COMMIT).jsonl

oracle: setup ## Check that `make chaos` would find each of eight planted bugs
	cargo test --workspace --locked --test end_to_end -- the_oracle --ignored --nocapture

# docs/mutants.md lists the surviving mutants. OF names a file in .cargo. Runs in the work tree, because a copy would build everything again.
SHARD ?= 0/16
OF ?= mutants
mutants: setup ## Mutate the mapping code, or with OF=mutants-stages the stages, one SHARD=0/16 at a time (needs cargo-mutants)
	git diff --quiet HEAD
	cargo mutants --in-place --config .cargo/$(OF).toml --shard $(SHARD) --timeout $(if $(filter mutants,$(OF)),60,300) --output target

# `make test` runs a short version. This one takes about ten minutes and needs an otherwise idle machine.
isolation: setup ## Measure the delay of one sender beside hostile ones and beside an export of 300 MB, on the release build
	@echo "commit $(GIT_COMMIT)"
	ISOLATION_SECONDS=60 ISOLATION_P99_MS=2000 ISOLATION_EXPORT_MB=300 ISOLATION_MORE_MS=1000 \
		cargo test --release --locked -p device-manager --test end_to_end isolation -- --nocapture

# `make test` runs a short version. The times from Kafka to the row are printed, on the release build.
replay: setup ## Correct a wrong unit in 50,000 of 100,000 raw records beside 1,000 live readings/s, with three kills; print the delays
	@echo "commit $(GIT_COMMIT)"
	REPLAY_RECORDS=100000 REPLAY_LIVE=1000 \
		cargo test --release --locked -p device-manager --test end_to_end a_replay_that_is_killed_twice -- --nocapture

outage: setup ## Stop Postgres for 5 minutes under 2,000 payloads per second, and print the memory of each stage, on the release build
	@echo "commit $(GIT_COMMIT)"
	OUTAGE_SECONDS=300 OUTAGE_RATE=2000 \
		cargo test --release --locked -p device-manager --test end_to_end outage_load -- --nocapture

bench: ## Measure against the stated peers and limits, and write the table to bench/results
	@sh .ci/setup bench
	cargo build --release --locked -p device-manager -p bench
	target/release/bench

# The cost of a change in comparison with another build, OLD=path/to/device-manager. `make bench` measures one build.
compare: ## Compare the processor time and the instructions of this build with those of OLD=BINARY
	@sh .ci/setup bench
	cargo build --release --locked -p device-manager -p bench
	target/release/bench --against $(OLD)

callgrind: ## Count the instructions of the pure mapping, and those of OLD=BINARY if given (needs valgrind)
	cargo build --release --locked -p device-manager -p bench
	target/release/bench --only instructions $(if $(OLD),--against $(OLD))

generated: build ## Rewrite the files that are generated from the code; a test fails if one is out of date
	@$(CARGO_RUN) docs docs

prepared: setup ## Check all static SQL against the tables, and write the metadata that the compiler needs to .sqlx/
	store/prepare

clean: ## Remove the build output and the embedded data
	for data in .device-manager/postgres target/tmp/*/postgres; do [ ! -L $$data ] || rm -rf "$$(readlink $$data)"; done
	rm -rf .device-manager
	cargo clean
