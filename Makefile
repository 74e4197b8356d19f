# Every target makes what it needs. `make lock` is the only one that wants more than a package registry: uv.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

.PHONY: demo test notebooks lint lock clean
.DEFAULT_GOAL := demo

$(VENV)/installed: requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.10 or newer"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than 3.10: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --requirement requirements.lock
	@touch $@

lock:
	{ echo "# Made by 'make lock' from requirements.txt and the dev extra of pyproject.toml; do not edit."; \
	  uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate --no-header \
	    --constraint <(echo "torch==2.14.1") pyproject.toml; } > requirements.lock
