PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: bench test check clean

bench: .venv/.run  ## install, then the default run
	$(BIN)/torchlap

test: .venv/.test check  ## install with the test tools, then all checks
	$(BIN)/pytest

check: .venv/.test
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.run: .venv/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.test: .venv/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ .venv/.run

clean:
	rm -rf .venv
