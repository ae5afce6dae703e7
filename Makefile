# Every target but gpu sets up what it needs. Without make: README.md says what stands behind `make book` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BOOK := _build/html/index.html

# The same values as in tools/notebooks.py: what a kernel must find so that it prints the same on every machine.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1
export PYDEVD_DISABLE_FILE_VALIDATION ?= 1
export MEMLAB_CACHE ?= $(CURDIR)/.cache
export MEMLAB_PROFILE := quick
export IPYTHONDIR := $(CURDIR)/.cache/ipython
unexport MPLBACKEND
$(shell mkdir -p .cache/ipython)

# Two files at a time, each in one process, in the order given; chapters and tests in one run, so that a worker waits for the
# other's last file only once. Some chapters take two threads; OMP_WAIT_POLICY lets a thread that waits sleep, or they would
# starve each other. Chapter 10 goes first: it trains the model that chapter 11 reads with (and would train again if it were
# not there).
JOBS ?= 2
PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
FIRST := book/outside-the-weights/memory-decoder.ipynb
# The shell's `times` prints two lines, 1m2.3s 0m4.5s each; the second counts what it started.
CPU_MINUTES = awk -F'[ms ]+' 'NR == 2 { printf "CPU minutes, user and system: %.1f\n", $$1 + $$3 + ($$2 + $$4) / 60 }'
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 900

# What `make gpu` runs with: PYTHON if it is given, or the one in .venv, or the system's.
AT_HAND = $(if $(filter file,$(origin PYTHON)),$(firstword $(wildcard $(BIN)/python) $(PYTHON)),$(PYTHON))
MINUTES ?= 12

.PHONY: help setup book test lint notebooks check serve gpu clean
help:       ## this list
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/:.*## /\t/'
setup: $(VENV)/.complete  ## .venv with everything in it
book: setup  ## the site, in _build/html
	$(BIN)/jupyter-book build -W -n --keep-going -q .
test: setup  ## everything that must hold: lint, types, notebooks, package, site (tests/site builds it), chapters
	@$(MAKE) --no-print-directory -j2 lint check && \
	notebooks=$$($(BIN)/python tools/notebooks.py list | grep -vxF $(FIRST)) && \
	$(BIN)/pytest -q --durations=20 $(PARALLEL) $(NBVAL) $(FIRST) $$notebooks tests; \
	status=$$?; times > .cache/cpu; $(CPU_MINUTES) .cache/cpu; exit $$status
lint: setup  ## style, types and workflows
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
notebooks: setup  ## execute the chapters whose code changed and write their .ipynb
	$(BIN)/python tools/notebooks.py build
check: setup  ## fast, no kernel: every .ipynb is its .md, executed; repository and claims agree everywhere
	$(BIN)/python tools/notebooks.py check
	$(BIN)/python tools/repository.py check
	$(BIN)/python tools/claims.py check
serve: book  ## the site at http://localhost:8000
	$(BIN)/python -m http.server -d _build/html 8000
gpu:  ## what a GPU manages in MINUTES=12, of EXPERIMENTS= or all, into book/results; sets nothing up: PYTHON=… as it is
	PYTHONPATH="$(CURDIR)/pkg/src" $(AT_HAND) -m memlab gpu --minutes $(MINUTES) $(EXPERIMENTS)
clean:  ## what `make book` and `make test` left, but not .venv
	rm -rf _build .cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.complete: requirements.txt constraints.txt pkg/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt -c constraints.txt -e ./pkg
	@touch $@
