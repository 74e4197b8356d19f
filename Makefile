# Every target makes what it needs, the virtual environment included.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
DEMO   := runs/demo
HOMED   = $(patsubst ~/%,$(HOME)/%,$(1))
WANTS_UV = @command -v uv > /dev/null || { echo "uv is missing, which finds the versions: pip install uv"; exit 2; }

.DEFAULT_GOAL := demo
.PHONY: demo test test-long test-oldest test-newest test-kill bench bench-training mutants gpu-check fuzz screenshots notebooks nbgrader lint lock

demo: $(VENV)/installed
	@rm -rf $(DEMO)
	@echo "1 of 2: making 4,000 faces with our trained generator"
	@$(PY) -m baselines.sample --face-set $(DEMO)/faces
	@echo "2 of 2: training a small R3GAN (notebook 10) on them, about 3 minutes on two cores, and scoring its 1,000 pictures"
	@$(PY) -m baselines.run 10_r3gan --preset demo --save $(DEMO)/10_r3gan.ipynb \
	  --set faces=$(DEMO)/faces --set run=$(DEMO)/gan --set outputs=$(DEMO)/outputs
	@echo "some of its pictures: $$(ls $(DEMO)/gan/samples/*.png | tail -n 1)"
	@echo "all about the score:  $(DEMO)/gan/report.html"

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --dist worksteal

# What repeats at length what other tests show in short. CI runs it too.
test-long: $(VENV)/installed
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --dist worksteal -m long

# The grader, the data tools and what notebooks share with the lowest versions that requirements.txt and pyproject.toml
# allow, Python's and Dask's too, and with the newest, each in an environment that is thrown away once all passes.
SHARED := $(foreach name,convolution device faces labels run settings,tests/notebooks/test_$(name).py)
test-oldest: PYTHON = 3.10
test-oldest: RESOLUTION = lowest-direct
test-newest: PYTHON = 3.13
test-newest: RESOLUTION = highest
test-oldest test-newest:
	$(WANTS_UV)
	uv venv --quiet --clear --python $(PYTHON) $(VENV)/$@
	uv pip install --quiet --python $(VENV)/$@ --resolution $(RESOLUTION) --requirement pyproject.toml --extra dask
	uv pip install --quiet --python $(VENV)/$@ pytest pytest-xdist hypothesis jupytext nbformat papermill
	OMP_NUM_THREADS=1 nice -n 15 $(VENV)/$@/bin/python -m pytest --numprocesses auto tests/grader tests/data $(SHARED)
	rm -rf $(VENV)/$@

# A run killed with SIGKILL at 20 random moments; make test kills it three times.
test-kill: $(VENV)/installed
	KILLS=20 OMP_NUM_THREADS=1 $(PY) -m pytest tests/notebooks/test_run.py -k killed_again -s

# Hostile archives, pictures and tables, 10,000 of them (FUZZ counts them before they are shared out): each is read, or
# refused in a line that says why.
fuzz: $(VENV)/installed
	FUZZ=9300 $(PY) -m pytest -s tests/grader/test_fuzz.py

# Our FID against pytorch-fid's, side by side, on 1,000 pictures: the demo's, or PICTURES=your/pictures.
PICTURES ?= $(DEMO)/outputs
bench: $(VENV)/installed
	@test -e "$(call HOMED,$(PICTURES))" || { echo "no $(PICTURES): make demo, or make bench PICTURES=your/pictures"; exit 2; }
	$(PY) -m tests.benchmarks.fid "$(call HOMED,$(PICTURES))"

# Notebook 01's training beside a loop like the course's sample code; FACES=folder of JPEGs, or drawn ones are taken.
bench-training: $(VENV)/installed
	$(PY) -m tests.benchmarks.training $(if $(FACES),"$(call HOMED,$(FACES))")

# Changes each TODO's solution in one place at a time, and prints the changes that its check accepts, for a person to
# read; NOTEBOOKS=04_wgan_gp for one. All of them take half an hour.
mutants: $(VENV)/installed
	PYTHONPATH=baselines MPLBACKEND=Agg OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.mutants $(NOTEBOOKS)

# All notebooks on this machine's GPU: whole, resumed, compared, timed; at most ten minutes.
gpu-check: $(VENV)/installed
	PYTHONPATH=baselines MPLBACKEND=Agg $(PY) -m tests.benchmarks.gpu_check

# The pictures of the pages in docs/screenshots/, of what make demo left. Wants Chromium.
screenshots: $(VENV)/installed
	@test -e $(DEMO)/gan || { echo "no $(DEMO): make demo"; exit 2; }
	OMP_NUM_THREADS=1 $(PY) -m studies.screenshots $(DEMO) docs/screenshots

notebooks: $(VENV)/installed
	$(PY) -m baselines.build

# nbgrader brings a hundred packages of its own, so it lives apart and only borrows this environment's kernel.
nbgrader: $(VENV)/installed
	$(PYTHON) -m venv $(VENV)/nbgrader
	$(VENV)/nbgrader/bin/python -m pip install --quiet --disable-pip-version-check "nbgrader>=0.9"
	$(PY) -m ipykernel install --prefix $(VENV)/kernel --name python3
	JUPYTER_PATH="$(CURDIR)/$(VENV)/kernel/share/jupyter" NBGRADER="$(CURDIR)/$(VENV)/nbgrader/bin/nbgrader" \
	  $(PY) -m pytest tests/notebooks/test_nbgrader.py

lint: $(VENV)/installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

# The newest torch that still has builds for Python 3.10 keeps one version for everyone; what stylegan2_pytorch
# asks for and never uses here (aim has no builds for new Pythons) is left out.
define OVERRIDES
torch==2.14.1
aim; python_version < "3"
contrastive-learner; python_version < "3"
endef
export OVERRIDES
lock:
	$(WANTS_UV)
	{ echo "# Made by 'make lock' from requirements.txt and the dev extra of pyproject.toml; do not edit." && \
	  echo "$$OVERRIDES" | uv pip compile --quiet --universal --python-version 3.10 --extra dev --no-annotate --no-header \
	    --override - pyproject.toml; } > requirements.lock.new || { rm requirements.lock.new; exit 1; }
	mv requirements.lock.new requirements.lock

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed: make PYTHON=python3.12"; exit 2; }
	@echo "installing into $(VENV), once (a few minutes, mostly torch)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	@touch $@
