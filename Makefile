PYTHON ?= python3
BIN := .venv/bin
SIDE_BY_SIDE := --numprocesses logical --maxprocesses 4 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # a hundred processes would compile the same files again

.PHONY: bench test test-all test-long test-rare check site clean

bench: .venv/.run  ## install, then the default run
	$(BIN)/torchlap

test: .venv/.test check  ## install with the test tools, then all checks that take minutes
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-all: test test-long  ## the long tests, too

test-long: .venv/.test  ## real time, real models, compiled steps, every audited script; on a GPU its tests
	$(BIN)/pytest -m 'long and not alone and not rare' -rs $(SIDE_BY_SIDE)
	$(BIN)/pytest -m '(long and alone and not rare) or gpu' -rs

test-rare: .venv/.test  ## what takes minutes and seldom breaks: before a release
	$(BIN)/pytest -m 'rare' -rs

check: .venv/.test
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml

site: .venv/.test  ## the documentation and the collection of results, into build/site
	$(BIN)/zensical build --clean --strict
	$(BIN)/torchlap collect submissions --site build/site/results

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
