# make demo: install and run the main job      make test: everything that CI runs
PYTHON ?= python3
VENV := .venv
THIRD := .venv-thirdparty
BIN := $(VENV)/bin
ARGS ?=

export OMP_NUM_THREADS = 1
export OMP_WAIT_POLICY = PASSIVE

.PHONY: demo test format lint types docs bench soak fuzz thirdparty clean

demo: $(VENV)/.installed
	$(BIN)/uncollapse demo $(ARGS)

test: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 $(ARGS)

format: $(VENV)/.tested
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.tested
	$(BIN)/mypy

bench: $(VENV)/.benched
	$(BIN)/python -m benchmarks $(ARGS)

# Load, faults and bad input at length: hours. `make soak ARGS="--quick"` takes minutes and keeps nothing
soak: $(VENV)/.soaked
	$(BIN)/python -m soak $(ARGS)
	$(BIN)/python -m soak.page

# Coverage-guided fuzzing of every reader, half an hour of processor time each in all; it goes on where it was
fuzz: $(VENV)/.soaked
	$(BIN)/python -m fuzz --queue --minutes 30 $(ARGS)

# Other libraries whose models are adapted: an environment of their own, 2 GB, beside the same torch
thirdparty: $(THIRD)/.installed
	$(THIRD)/bin/pytest tests/thirdparty $(ARGS)

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict $(ARGS)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "uncollapse needs Python 3.11 or newer: make PYTHON=python3.11 demo")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group test
	@touch $@

$(VENV)/.benched: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	@touch $@

$(VENV)/.soaked: $(VENV)/.tested
	$(BIN)/python -m pip install --quiet -c constraints.txt --group soak --group fuzz
	@touch $@

$(THIRD)/.installed: pyproject.toml constraints.txt
	@test -x $(THIRD)/bin/python || $(PYTHON) -m venv $(THIRD)
	$(THIRD)/bin/python -m pip install --quiet "pip>=25.1"
	$(THIRD)/bin/python -m pip install --quiet -c constraints.txt -e . --group thirdparty
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	@touch $@

clean:
	rm -rf $(VENV) $(THIRD) .pytest_cache .mypy_cache .ruff_cache .hypothesis
