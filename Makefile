# The same commands for people and CI. `make` alone lists them.
.PHONY: help setup build edge demo up down check test soak bench clean
.DEFAULT_GOAL := help
SHELL := bash

# cargo-deny, cargo-machete, promtool, prometheus and amtool are here once `tools/setup.sh lint` has run.
LINT := PATH="$(CURDIR)/.toolchain/bin:$$PATH"
PLATFORM := target/debug/platform

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## what the other targets need, and is not there yet
	@tools/setup.sh native wasm kafka

edge: setup
	@tools/with-progress.sh "edge: building the Worker" tools/build-edge.sh

build: edge
	@tools/with-progress.sh "workspace: building" cargo build --locked --workspace

demo: build ## starts two regions and the edge, plays the story of a webhook, stays up until Ctrl-C
	@$(PLATFORM) demo

up: build ## starts the platform in the background; .run/platform.env names all of it
	@$(PLATFORM) up

down: ## stops the platform that `make up` started
	@if [ -x $(PLATFORM) ]; then $(PLATFORM) down; else echo "nothing was up"; fi

check: edge ## formatting, lints, documentation, dependency rules, routes against the registry, manifests, alerts, the dashboard, the deployment
	@tools/setup.sh lint
	tools/check-alerts.sh
	$(LINT) promtool check config --syntax-only --lint-fatal infra/monitoring/prometheus.yml
	$(LINT) promtool check rules --lint-fatal infra/monitoring/rules/*.yml
	$(LINT) promtool test rules infra/monitoring/tests/*.yml
	$(LINT) tools/check-alertmanager.sh
	$(LINT) tools/check-dashboard.mjs
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	$(LINT) cargo deny --locked check bans licenses sources
	$(LINT) cargo machete
	cargo run --locked --quiet --package infra --bin smpctl -- check
	cargo run --locked --quiet --package infra --bin smpctl -- render --check
	tools/check-kubernetes.mjs
	tools/check-deploy.sh

test: build ## every test
	@$(PLATFORM) with-postgres -- cargo test --locked --workspace --no-fail-fast

# The edge at full speed is alone with the machine.
soak: build ## what tests of faults do once, many times over, and the edge at full speed: an hour
	@$(PLATFORM) with-postgres -- cargo test --locked --package platform --test e2e -- --ignored --nocapture --skip soak::
	@$(PLATFORM) with-postgres -- cargo test --locked --package platform --test e2e -- soak:: --ignored --nocapture
	@for round in 1 2 3 4 5; do \
		$(PLATFORM) with-postgres -- cargo test --locked --package platform --test e2e -- master_data::topics master_data::faults master_data::regions --nocapture || exit 1; \
	done

bench: build ## the benchmarks, each against its peer in the same run
	cargo build --locked --release --package regional-core --package replication --package platform
	@target/release/platform bench

clean: down ## removes what was built and started; keeps what set-up fetched
	@if [ -x $(PLATFORM) ]; then $(PLATFORM) clean; fi
	rm -rf target edge-worker/build .run
