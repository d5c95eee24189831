# Everything that a user or a contributor runs. Tools that cargo does not ship are installed into .tools, pinned.

CARGO_MACHETE_VERSION := 0.9.2
TOOLS := .tools
# Where cargo builds, and where everything else goes that is built.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Of the zip file with the function webhook.
ZIP_MAX_BYTES := 2600000

# arm64 or x86_64, as Lambda names them, and as Rust does.
ARCHITECTURE ?= arm64
HOST_ARCHITECTURE := $(patsubst aarch64,arm64,$(shell uname -m))
TARGET = $(patsubst arm64,aarch64,$(ARCHITECTURE))-unknown-linux-gnu
# The functions as they are deployed, and copies of the templates beside them.
LAMBDA_DIR = $(TARGET_DIR)/lambda/$(ARCHITECTURE)
# The same, to be deployed elsewhere.
PACKAGE_DIR = $(TARGET_DIR)/package/$(ARCHITECTURE)

# cargo-lambda, zig, sam and boto3, from the local environment.
WITH_TOOLS := PATH="$(CURDIR)/$(TOOLS)/aws/bin:$$PATH" SAM_CLI_TELEMETRY=0

# The benchmark, a workspace of its own.
BENCH := --manifest-path bench/Cargo.toml --target-dir $(TARGET_DIR)/bench --locked

# The programs that load and check, rather than operate.
TESTKIT := cargo run --locked --quiet --package chat-groups-testkit --bin

.DEFAULT_GOAL := help
.PHONY: help run up console screenshots test fuzz soak check check-size events bench build package deploy rollback \
	remove-failed outputs verify put-back reconcile reconcile-load load e2e

help: ## Lists the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 24
	@echo "  ./chat-groups --help  Lists what else can be done by hand with a deployment"

run: ## Runs the receiver and a page on loopback, and plays the vendor's sample and a group's life; ONCE=1 ends after that
	@./chat-groups run

up: $(TOOLS)/aws/installed $(TOOLS)/emulator/installed ## Deploys the whole stack to an emulated AWS on loopback, plays a group's life and shows the table; PORT, PAGE_PORT
	@$(WITH_TOOLS) tools/up

console: ## Shows a deployed table and its history on a page of this machine, read-only: TABLE_NAME=… SDK_APP_ID=… HISTORY_TABLE_NAME=…
	@./chat-groups console

test: ## Runs all tests
	cargo test --locked --workspace

# Of each property as many random cases; `make test` tries 256.
FUZZ_CASES ?= 100000

fuzz: ## Reads random bodies, queries and answers of Chat, right and wrong; FUZZ_CASES
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --locked --lib -- fuzz::

soak: ## Runs 20,000 events with random faults through the functions, audits the table and the change feed; EVENTS, SEED
	cargo build --locked --release --bins
	$(TESTKIT) soak

# Remakes the files in events/; TOKEN, SDK_APP_ID and REQUEST_TIME may be set
events:
	$(TESTKIT) events

check: $(TOOLS)/bin/cargo-machete ## Runs all static checks
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	$(TESTKIT) policy
	$(TOOLS)/bin/cargo-machete
	cargo fmt --manifest-path bench/Cargo.toml --all --check
	cargo clippy $(BENCH) --workspace -- -D warnings

build: $(TOOLS)/aws/installed ## Builds the functions for Lambda; ARCHITECTURE=x86_64 instead of arm64
	rustup target add $(TARGET)
	$(WITH_TOOLS) cargo lambda build --release --locked --bins --target $(TARGET) --lambda-dir $(LAMBDA_DIR)
	sed 's/CodeUri: . # make build: /CodeUri: /' template.yaml > $(LAMBDA_DIR)/template.yaml
	cp monitoring.yaml $(LAMBDA_DIR)

package: build ## Builds a folder of zips and templates that deploys without Rust; ARCHITECTURE=x86_64 instead of arm64
	tools/package $(LAMBDA_DIR) $(PACKAGE_DIR) $(ARCHITECTURE)

# The zipped size of the webhook that `make package` made.
check-size:
	@size=$$(cat $(PACKAGE_DIR)/webhook-*.zip | wc -c) && echo "webhook, $(ARCHITECTURE): $$size bytes zipped" && \
		test "$$size" -gt 0 && test "$$size" -le $(ZIP_MAX_BYTES)

# An ARCHITECTURE that nobody has set stays as deployed before.
deploy: $(TOOLS)/aws/installed ## Builds and deploys to AWS; asks for the SdkAppid and the secret's name
	@$(WITH_TOOLS) ARCHITECTURE=$(if $(filter-out file,$(origin ARCHITECTURE)),$(ARCHITECTURE)) tools/deploy

rollback: $(TOOLS)/aws/installed ## Goes back to the code and settings that were deployed before, in seconds
	@$(WITH_TOOLS) tools/rollback

# `make deploy` names it when it finds such a stack.
remove-failed: $(TOOLS)/aws/installed
	@$(WITH_TOOLS) tools/remove-failed

outputs: $(TOOLS)/aws/installed ## Prints the deployed stack's outputs as shell variables
	@$(WITH_TOOLS) tools/outputs

verify: ## Checks a deployment: URL=… TOKEN_FILE=… SDK_APP_ID=…, and TABLE_NAME=… to see the items
	@./chat-groups verify

put-back: ## Puts lost events, LINES=… of the log, and dead letters back into their queues
	@./chat-groups put-back

reconcile: ## Compares a deployed table with Chat's REST API; APPLY=1 writes; MEMBERS=all, GROUP_IDS, ALLOW_DESTROY=1
	@./chat-groups reconcile

# Runs reconcile over 100,000 groups of 5 members and over large ones, and counts its calls, seconds and memory; GROUP_COUNT,
# COMMUNITY_MEMBERS, LARGE_MEMBERS, CALLS_PER_SECOND
reconcile-load:
	cargo build --locked --release --bin reconcile
	$(TESTKIT) reconcile-load

load: ## Measures events in groups of 10 to 100,000, a throttled burst, rivals, a backlog and the change feed; BURST, UNITS_PER_SECOND, BACKLOG, CHANGES_ONLY=1
	cargo build --locked --release --bin webhook --bin redrive --bin publish
	$(TESTKIT) load

e2e: $(TOOLS)/aws/installed $(TOOLS)/checkov/installed $(TOOLS)/node/installed $(TOOLS)/emulator/installed ## Tests the release binaries under Lambda's emulator, the template, and the stack on an emulated AWS
	$(MAKE) package check-size ARCHITECTURE=$(HOST_ARCHITECTURE)
	$(MAKE) package check-size ARCHITECTURE=arm64
	cargo build --locked --package chat-groups-cli
	$(WITH_TOOLS) python -m unittest discover --start-directory tests/e2e --verbose

# Remakes the pictures of the page in docs/; takes Chromium and its driver
screenshots: $(TOOLS)/aws/installed
	cargo build --locked --package chat-groups-cli
	$(WITH_TOOLS) python tests/e2e/screenshots.py

# A folder with another webhook and redrive to compare with, built with symbols as here: BEFORE=…; EVENTS_ONLY=1 leaves
# out all but warm events.
bench: FUNCTIONS := $(TARGET_DIR)/bench/functions
bench: ## Measures webhook beside an empty function and the usual one: BENCHMARKS.md; BEFORE=…, EVENTS_ONLY=1
	CARGO_PROFILE_RELEASE_STRIP=false cargo build --locked --release --bins --target-dir $(FUNCTIONS)
	cargo build $(BENCH) --release --package floor
	cargo build $(BENCH) --profile usual --package usual
	cargo run $(BENCH) --quiet --profile harness --package bench -- \
		$(if $(EVENTS_ONLY),events) floor=$(TARGET_DIR)/bench/release/floor usual=$(TARGET_DIR)/bench/usual/usual webhook=$(FUNCTIONS)/release/webhook \
		batch:redrive=$(FUNCTIONS)/release/redrive zip:reconcile=$(FUNCTIONS)/release/reconcile zip:publish=$(FUNCTIONS)/release/publish \
		$(if $(BEFORE),before=$(BEFORE)/webhook batch:before=$(BEFORE)/redrive)

# What the examples in JavaScript import, for their tests.
$(TOOLS)/node/installed: tools/node/package-lock.json
	mkdir -p $(@D)
	cp tools/node/package.json tools/node/package-lock.json $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

# A Python environment of its own for each list of pinned packages.
$(TOOLS)/%/installed: tools/%.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(TOOLS)/bin/cargo-machete:
	cargo install cargo-machete --locked --version $(CARGO_MACHETE_VERSION) --root $(TOOLS) --target-dir $(TARGET_DIR)/tools
