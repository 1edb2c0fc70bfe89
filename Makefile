# What can be done here. Everything that is made goes below target/.
# demo     three real calls, shown live            test     all tests (what CI runs)
# check    format and lints                        interop  real peers and a booted container
# soak     the long tests, part by part            figures  rates and costs of this machine
.PHONY: all demo test check interop soak figures
CARGO ?= cargo

all:
	@tests/setup build
	$(CARGO) build --workspace --bins --locked

demo:
	@tests/setup build demo
	@tests/demo

test:
	@tests/setup build test
	@tests/run

check:
	@tests/setup build
	@rustup component add rustfmt clippy >/dev/null 2>&1 || true
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

interop:
	@tests/setup build test interop
	@tests/interop

soak:
	@tests/setup build test soak
	@tests/soak

figures:
	@tests/setup build test figures
	@tests/figures
