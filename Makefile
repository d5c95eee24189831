# Everything that a user or a contributor runs. Tools that cargo does not ship are installed into .tools, pinned.

CARGO_MACHETE_VERSION := 0.9.2
TOOLS := .tools
# Of the zip file with the function webhook.
ZIP_MAX_BYTES := 2500000

.DEFAULT_GOAL := help
.PHONY: help run test soak check check-size events bench

help: ## Lists the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: ## Runs the receiver on loopback and sends it the vendor's sample; ONCE=1 ends after that
	cargo run --locked --quiet --example local

test: ## Runs all tests
	cargo test --locked

soak: ## Runs 20,000 events with random faults through the functions and audits the table; EVENTS, SEED
	cargo build --locked --release --bins
	cargo run --locked --quiet --profile soak --example soak

events: ## Remakes the files in events/; TOKEN, SDK_APP_ID and REQUEST_TIME may be set
	cargo run --locked --quiet --example events

check: $(TOOLS)/bin/cargo-machete ## Runs every check that is no test
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	cargo run --locked --quiet --example policy
	$(TOOLS)/bin/cargo-machete

check-size: ## Checks the zipped size of a built webhook: BOOTSTRAP=target/lambda/arm64/webhook/bootstrap
	@size=$$(zip -q -j - $(BOOTSTRAP) | wc -c) && echo "$$size bytes zipped, at most $(ZIP_MAX_BYTES)" && \
		test "$$size" -gt 0 && test "$$size" -le $(ZIP_MAX_BYTES)

BENCH := --manifest-path bench/Cargo.toml --target-dir target/bench --locked

bench: ## Measures webhook beside an empty function and the usual one: BENCHMARKS.md
	cargo build --locked --release --bin webhook
	cargo build $(BENCH) --release --package floor
	cargo build $(BENCH) --release --package usual
	cargo run $(BENCH) --quiet --profile harness --package bench -- \
		floor=target/bench/release/floor usual=target/bench/release/usual webhook=target/release/webhook

$(TOOLS)/bin/cargo-machete:
	cargo install cargo-machete --locked --version $(CARGO_MACHETE_VERSION) --root $(TOOLS) --target-dir target/tools
