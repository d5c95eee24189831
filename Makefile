# Everything that a user or a contributor runs. Tools that cargo does not ship are installed into .tools, pinned.

CARGO_MACHETE_VERSION := 0.9.2
TOOLS := .tools
# Of the zip file with the function webhook.
ZIP_MAX_BYTES := 2500000

# arm64 or x86_64, as Lambda names them, and as Rust does.
ARCHITECTURE ?= arm64
HOST_ARCHITECTURE := $(patsubst aarch64,arm64,$(shell uname -m))
TARGET = $(patsubst arm64,aarch64,$(ARCHITECTURE))-unknown-linux-gnu

# cargo-lambda, zig and sam, from the local environment.
WITH_TOOLS := PATH="$(CURDIR)/$(TOOLS)/aws/bin:$$PATH" SAM_CLI_TELEMETRY=0

# The benchmark, a workspace of its own.
BENCH := --manifest-path bench/Cargo.toml --target-dir target/bench --locked

.DEFAULT_GOAL := help
.PHONY: help run test soak check check-size events bench build sam-build deploy verify reconcile reconcile-load e2e

help: ## Lists the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: ## Runs the receiver on loopback and sends it the vendor's sample; ONCE=1 ends after that
	cargo run --locked --quiet --package chat-groups-dev --bin local

test: ## Runs all tests
	cargo test --locked

soak: ## Runs 20,000 events with random faults through the functions and audits the table; EVENTS, SEED
	cargo build --locked --release --bins
	cargo run --locked --quiet --profile soak --package chat-groups-dev --bin soak

events: ## Remakes the files in events/; TOKEN, SDK_APP_ID and REQUEST_TIME may be set
	cargo run --locked --quiet --package chat-groups-dev --bin events

check: $(TOOLS)/bin/cargo-machete ## Runs every check that is no test
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	cargo run --locked --quiet --package chat-groups-dev --bin policy
	$(TOOLS)/bin/cargo-machete
	cargo fmt --manifest-path bench/Cargo.toml --all --check
	cargo clippy $(BENCH) --workspace -- -D warnings
	$(MAKE) build check-size ARCHITECTURE=$(HOST_ARCHITECTURE)

build: $(TOOLS)/aws/installed ## Builds both functions for Lambda; ARCHITECTURE=x86_64 instead of arm64
	rustup target add $(TARGET)
	$(WITH_TOOLS) cargo lambda build --release --locked --bins --target $(TARGET) --lambda-dir target/lambda/$(ARCHITECTURE)

check-size: ## Checks the zipped size of the webhook that `make build` made; ARCHITECTURE=x86_64 instead of arm64
	@python3 -m zipfile -c target/lambda/$(ARCHITECTURE).zip target/lambda/$(ARCHITECTURE)/webhook/bootstrap
	@size=$$(wc -c < target/lambda/$(ARCHITECTURE).zip) && echo "webhook, $(ARCHITECTURE): $$size bytes zipped" && \
		test "$$size" -gt 0 && test "$$size" -le $(ZIP_MAX_BYTES)

sam-build: $(TOOLS)/aws/installed
	rustup target add $(TARGET)
	$(WITH_TOOLS) sam build --parameter-overrides Architecture=$(ARCHITECTURE)

deploy: sam-build ## Deploys to AWS; asks for the SdkAppid and the secret's name
	@$(WITH_TOOLS) ARCHITECTURE=$(ARCHITECTURE) tools/deploy

verify: ## Checks a deployment: URL=… TOKEN=… SDK_APP_ID=…, and TABLE_NAME=… to see the items
	@cargo run --locked --quiet --package chat-groups-dev --bin verify

reconcile: ## Compares a deployed table with Chat's REST API, with the settings of reconcile; APPLY=1 writes; MEMBERS=all
	@cargo run --locked --quiet --package chat-groups-dev --bin reconcile-by-hand

reconcile-load: ## Runs reconcile over 100,000 groups of 5 members and counts its calls, seconds and memory; GROUP_COUNT
	cargo build --locked --release --bin reconcile
	cargo run --locked --quiet --profile soak --package chat-groups-dev --bin reconcile-load

e2e: $(TOOLS)/aws/installed $(TOOLS)/checkov/installed ## Tests the release binaries under Lambda's emulator, and the template
	$(MAKE) build check-size ARCHITECTURE=$(HOST_ARCHITECTURE)
	$(MAKE) build check-size ARCHITECTURE=arm64
	cargo build --locked --package chat-groups-dev --bins
	$(WITH_TOOLS) python -m unittest discover --start-directory tests/e2e --verbose

bench: ## Measures webhook beside an empty function and the usual one: BENCHMARKS.md
	cargo build --locked --release --bin webhook
	cargo build $(BENCH) --release --package floor
	cargo build $(BENCH) --profile usual --package usual
	cargo run $(BENCH) --quiet --profile harness --package bench -- \
		floor=target/bench/release/floor usual=target/bench/usual/usual webhook=target/release/webhook

# A Python environment of its own for each list of pinned packages.
$(TOOLS)/%/installed: tools/%.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(TOOLS)/bin/cargo-machete:
	cargo install cargo-machete --locked --version $(CARGO_MACHETE_VERSION) --root $(TOOLS) --target-dir target/tools
