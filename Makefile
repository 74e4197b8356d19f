# Every target makes what it needs, the virtual environment included.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
DEMO   := runs/demo

.DEFAULT_GOAL := demo
.PHONY: demo test notebooks lint lock

demo: $(VENV)/installed
	@rm -rf $(DEMO) outputs
	@echo "1 of 3: drawing 4,000 faces"
	@$(PY) -m data render $(DEMO)/faces --count 4000
	@echo "2 of 3: training a small GAN on them, about 3 minutes on two cores"
	@$(PY) -m baselines.run 01_gan --preset demo --save $(DEMO)/01_gan.ipynb \
	  --set faces=$(DEMO)/faces --set run=$(DEMO)/gan --set outputs=outputs
	@echo "3 of 3: scoring its 1,000 pictures against the faces that it learned from"
	@$(PY) -m grader score outputs --reference $(DEMO)/faces --offline

test: $(VENV)/installed
	$(PY) -m pytest

notebooks: $(VENV)/installed
	$(PY) -m baselines.build

lint: $(VENV)/installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

# Wants uv. The newest torch that still has builds for Python 3.10 keeps one version for everyone.
lock:
	echo "# Made by 'make lock' from requirements.txt and the dev extra of pyproject.toml; do not edit." > requirements.lock
	echo "torch==2.14.1" | uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate --no-header \
	  --constraint - pyproject.toml >> requirements.lock

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed: make PYTHON=python3.12"; exit 2; }
	@echo "installing into $(VENV), once (a few minutes, mostly torch)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@
