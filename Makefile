# make demo    a poem, pictures, music, a voice, a film and a page in demo/ (neither torch nor transformers is installed for it)
# make test    linters, types, layers and every fast test
# See CONTRIBUTING.md for the others.

PYTHON ?= python3
VENV ?= .venv
THEME ?= 中秋月夜
FORM ?= 七绝
BENCHMARKS ?= decode train prepare startup
WORKERS ?= 2

BIN := $(VENV)/bin
CREATE := $(VENV)/.miaobi-create
DEV := $(VENV)/.miaobi-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test check test-slow bench docs clean

demo: $(CREATE)
	@rm -rf demo
	@HF_HUB_OFFLINE=1 $(BIN)/miaobi --lang zh create "$(THEME)" --form $(FORM) --out demo
	@echo
	@for file in demo/poem.md demo/film.mp4 demo/index.html; do $(BIN)/miaobi --lang zh verify $$file || exit 1; done

# one thread a worker: threads of two workers on two cores wait for each other
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow --timeout 3600

bench: $(DEV)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf demo site dist build

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "miaobi needs Python 3.11 or newer; try: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)

$(CREATE): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[create]'
	@touch $@

# torch comes first: once it is there, no other package's looser range brings another build
$(DEV): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(CREATE)
