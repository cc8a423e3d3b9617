# Two commands need nothing but Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint types contracts pytest bench pins clean

demo: .venv/base
	$(BIN)/jaxinv demo

test: check pytest

check: lint types contracts

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test
	$(BIN)/mypy

contracts: .venv/test
	$(BIN)/lint-imports

pytest: .venv/test
	$(BIN)/pytest

.venv/base: requirements/base.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/test: .venv/base requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	touch $@

# Every benchmark at its small size, into bench-quick, with the seconds it took; then the hot kernels
# against what benchmarks/results/kernels.json holds of this machine.
BENCHMARKS := exact lp lp_certified joint job overlap recovery theorems tune_gd tune_peers peers throughput gpu
bench: .venv/bench
	mkdir -p bench-quick
	for name in $(BENCHMARKS); do \
	  echo "== $$name"; begin=$$(date +%s); \
	  $(BIN)/python -m benchmarks.$$name --quick --out bench-quick/$$name.json || exit 1; \
	  echo "== $$name: $$(( $$(date +%s) - begin )) s"; \
	done
	$(BIN)/python -m benchmarks.kernels

.venv/bench: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[bench]'
	touch $@

# The pins carry hashes and no index address; uv reads the dependencies from pyproject.toml.
PIN := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
pins:
	$(PIN) requirements/build.in --output-file requirements/base.txt
	$(PIN) requirements/build.in --extra test --output-file requirements/test.txt

clean:
	rm -rf .venv bench-quick .pytest_cache .mypy_cache .ruff_cache
