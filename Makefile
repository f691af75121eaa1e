# fsb: `make help` lists what there is. Every target sets up what it needs.
.DEFAULT_GOAL := help
VENV ?= .venv
RUN := $(VENV)/bin/python
ARGS ?=
TESTS := $(RUN) -m pytest -n auto --no-loadscope-reorder
# Run with the types and shapes of every call checked: each estimator, family and network is here.
TYPED := tests/distributions tests/sites tests/networks tests/estimators/test_contract.py
TYPED += tests/test_diagnostics.py tests/test_objectives.py
# Else each of the many processes that the tests start would compile all of Python it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help train test check lint docs bench claims report mutations coverage test-matrix dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml scripts/venv.sh
	@echo "Setting up $(VENV) (about a minute)"
	@scripts/venv.sh $(VENV)
	@touch $@

train: $(VENV)/.installed ## train a Boolean VAE with FouST on the embedded digits; ARGS="data=mnist ..." changes it
	@$(RUN) -m fsb.train $(ARGS)

test: check ## all tests
	$(TESTS) -m slow $(TYPED:%=--ignore=%)
	FSB_TYPECHECK=1 $(TESTS) -m slow $(TYPED)

check: lint ## lint, types and the fast tests
	$(TESTS) -m "not slow" tests

lint: $(VENV)/.installed ## ruff and the type checker
	$(RUN) -m ruff check --no-cache .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(VENV)/.docs report ## the site of documentation, build/docs/index.html; a warning is an error
	@rm -rf build/docs
	$(RUN) scripts/pages.py build/pages
	$(RUN) -m sphinx -W --keep-going -q -E -b html build/pages build/docs

$(VENV)/.docs: $(VENV)/.installed
	@echo "Adding Sphinx to $(VENV)"
	@scripts/venv.sh $(VENV) "" -e ".[docs]"
	@touch $@

bench: $(VENV)/.installed ## speed of the train step, as ratios; ARGS="suite=scaling ..." measures something else
	$(RUN) -m fsb.bench $(ARGS)

claims: $(VENV)/.installed ## every proposition as an experiment (4 minutes), then experiments/CLAIMS.md
	$(RUN) scripts/claims.py --measure

report: $(VENV)/.installed ## every recorded result as one page to read, build/report.html
	$(RUN) scripts/report.py $(ARGS)

mutations: $(VENV)/.installed ## break the code in many ways and see that tests notice; ARGS=--changed for what you changed
	$(RUN) tests/mutations $(ARGS)

coverage: $(VENV)/.installed ## the lines of fsb that no test runs; ARGS="tests/data --cov=fsb.data" for a part
	COVERAGE_CORE=sysmon $(TESTS) --cov-report=term-missing:skip-covered $(or $(ARGS),--cov=fsb)

test-matrix: ## the fast tests on Python 3.11, 3.12 and 3.13 with their newest jax, and 3.12 with jax 0.11.2
	scripts/test_matrix.sh

dist: $(VENV)/.installed ## the wheel and the sdist in dist/, checked as PyPI does
	rm -rf dist
	$(RUN) -m build
	$(RUN) -m twine check --strict dist/*

clean: ## remove the virtual environments and caches, nothing you made
	rm -rf $(VENV) .venv-* build/pages build/docs .cache .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
