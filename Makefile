# Everything that a user or a contributor runs. Tools that cargo does not ship are installed into .tools, pinned.

CARGO_MACHETE_VERSION := 0.9.2
TOOLS := .tools

.DEFAULT_GOAL := help
.PHONY: help run test soak check events

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

$(TOOLS)/bin/cargo-machete:
	cargo install cargo-machete --locked --version $(CARGO_MACHETE_VERSION) --root $(TOOLS) --target-dir target/tools
