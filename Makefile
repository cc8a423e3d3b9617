# Two commands need nothing but Python and make: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint types contracts pytest docs bench figures dist container pins clean

demo: .venv/base
	$(BIN)/jaxinv demo

test: check pytest

check: lint types contracts

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	[ ! -x $(BIN)/hadolint ] || $(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

types: .venv/test
	$(BIN)/mypy

contracts: .venv/test
	$(BIN)/lint-imports

# Two files at a time: most of the time goes into compiling, which is one core's work.
pytest: .venv/test
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The source archive, and from it the wheel.
dist: .venv/base
	rm -rf dist
	$(BIN)/python -m hatchling build

# The image, built and used where an engine is; elsewhere it says what it skipped.
container:
	docker/check.sh

docs: .venv/docs
	rm -rf docs/_build
	$(BIN)/sphinx-build -W --keep-going docs docs/_build/html

.venv/base: requirements/base.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/test: .venv/base requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	touch $@

# The tutorial brings a PyTorch decoder. Which build of torch fits is the machine's affair: no pin.
TORCH ?= torch>=2.6
.venv/docs: .venv/base requirements/docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	touch $@

# Every benchmark at its small size, into bench-quick, with the seconds it took; then the hot kernels
# against what benchmarks/results/kernels.json holds of this machine.
BENCHMARKS := exact lp lp_certified joint job overlap recovery theorems tune_gd tune_peers peers convolutional real odd_images throughput gpu gpu_check round_trips job_shards
bench: .venv/bench
	mkdir -p bench-quick
	for name in $(BENCHMARKS); do \
	  echo "== $$name"; begin=$$(date +%s); \
	  $(BIN)/python -m benchmarks.$$name --quick --out bench-quick/$$name.json || exit 1; \
	  echo "== $$name: $$(( $$(date +%s) - begin )) s"; \
	done
	$(BIN)/python -m benchmarks.kernels

# Redraws what benchmarks/results holds and measures what it lacks.
figures: .venv/bench
	for name in figure1 figure2 figure3 figure4 table1; do $(BIN)/python -m benchmarks.$$name || exit 1; done

.venv/bench: .venv/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[bench]'
	touch $@

# The pins carry hashes and no index address; uv reads the dependencies from pyproject.toml.
PIN := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
pins:
	$(PIN) requirements/build.in --output-file requirements/base.txt
	$(PIN) requirements/build.in --extra test --output-file requirements/test.txt
	for cuda in cuda12 cuda13; do \
	$(PIN) requirements/build.in --extra $$cuda --constraint requirements/base.txt --no-annotate \
	--output-file requirements/$$cuda.txt; done
	$(PIN) requirements/build.in --extra docs --output-file requirements/docs.txt

clean:
	rm -rf .venv bench-quick .pytest_cache .mypy_cache .ruff_cache docs/_build
