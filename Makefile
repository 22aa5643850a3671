# Every target does its own set-up. Written for GNU make 3.81 and later (macOS ships that) and BSD make.

PYTHON ?=
BIN = .venv/bin
READY = .venv/.ready
FAST = not docker and not jvm and not browser and not long
# Tests that start a cluster form two groups, so no more than two clusters run at once (see tests/conftest.py).
# They start hundreds of interpreters: each should find what the first one compiled, even where bytecode is not wanted.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder --max-worker-restart 1

.PHONY: help setup lint check format test test-fast test-long demo jars bench clean

help:
	@echo 'make setup      create .venv (needs only Python 3.11 to 3.14)'
	@echo 'make demo       kill leaders of our own broker for half a minute, then judge and report'
	@echo 'make check      format, lint, types, layers, tests that need no engine'
	@echo 'make test       every test that this machine can run'
	@echo 'make test-long  the ones that are for the night: runs of a minute whose like is in `make test`'
	@echo 'make test-fast  the tests that need no Docker, Java or browser'
	@echo 'make format     let ruff rewrite what it can'
	@echo 'make jars       fetch Apache Kafka into the user cache (needs Maven)'
	@echo 'make bench      what the harness itself can sustain'
	@echo 'make clean      remove .venv and what tools left behind (results/ stays)'

setup: $(READY)

$(READY): requirements.txt pyproject.toml .ci/venv
	@PYTHON='$(PYTHON)' sh .ci/venv
	@touch $(READY)

lint: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint test-fast

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: $(READY)
	@$(PYTEST) -m 'not long'

test-long: $(READY)
	@$(PYTEST) -m long

test-fast: $(READY)
	@$(PYTEST) -q -m '$(FAST)'

demo: $(READY)
	@$(BIN)/harness run --nemesis kill-leader --nemesis-length 0.5 --nemesis-interval 0.5 --time-limit 30

jars: $(READY)
	@$(BIN)/python -c 'from harness.cluster.distribution import ensure; [print(ensure(v)) for v in ("4.1.1", "3.7.1", "4.4.0")]'

bench: $(READY)
	@$(BIN)/python -m bench.driver
	@$(BIN)/python -m bench.checkers
	@$(BIN)/python -m bench.report

clean:
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
