# Two commands for a newcomer:
#   make demo   set up, then index a small simulated town and locate a drone photo in it
#   make test   set up, then the linters, the type checker and every test
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test clean
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh $(VENV) world,train,curate,dev
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=2 $(BIN)/pytest

clean:
	rm -rf $(VENV) demo
