# Every target sets up what is missing in .venv, with plain venv and pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-heavy check bench clean

demo: .venv/.installed
	$(BIN)/ser score examples demo-output --channels each --restart
	$(BIN)/python examples/show.py demo-output

test: .venv/.installed-dev
	$(BIN)/python -m pytest -m "not heavy" -n 2 --dist loadgroup --no-loadscope-reorder --max-worker-restart 2 $(PYTEST_OPTIONS)

# Minutes long, or with an S3 server of their own; SER_TEST_DATA names a folder of real speech.
test-heavy: .venv/.installed-dev
	$(BIN)/python -m pytest -m heavy -o faulthandler_timeout=3600 $(PYTEST_OPTIONS)

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Half an hour on two cores, which should have nothing else to do; benchmarks/README.md.
bench: .venv/.installed-dev
	$(BIN)/python -m benchmarks.score $(BENCH_OPTIONS)

clean:
	rm -rf .venv demo-output

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch .venv/.installed $@
