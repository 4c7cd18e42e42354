# The commands of the project. They need make and python3 (3.11 or newer, with venv); `make` alone lists them.
#
# There is one virtual environment. `make tag` puts the core in it, which has no PyTorch; the other targets add
# the rest. A stamp file tells what is installed, so an install is repeated only when pyproject.toml changes.

PYTHON    ?= python3
VENV      := .venv
BIN       := $(VENV)/bin
LANDMARKS := $(BIN)/landmarks
MODEL     := world
OUT       := build/runs
DATA      := build/drawn

CORE := $(VENV)/.core-installed
FULL := $(VENV)/.full-installed
FUZZ := $(VENV)/.fuzz-installed

# Taken literally, so that a $ or a quote in a name survives on its way to the shell.
export photos := $(value PHOTOS)
export data := $(value DATA)
export out := $(value OUT)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help tag install test lint check fuzz train docs notebooks clean photos-given runs-free

help:
	@echo 'make tag PHOTOS=<photo or folder>   recognise the landmarks in your photos'
	@echo 'make install                        install everything: PyTorch, all extras, the tools of the tests'
	@echo 'make test                           install everything and run all tests (ARGS=... goes to pytest)'
	@echo 'make lint                           format, lint, types and layers, without the tests'
	@echo 'make check                          lint, then test: what a change must pass'
	@echo 'make fuzz                           search for inputs that break a reader of the service (FOR=<seconds>)'
	@echo 'make train DATA=<folder>            train from scratch and by transfer, export both, predict a picture'
	@echo '                                    (without DATA on drawn scenes; OUT=<folder> for the runs, else'
	@echo '                                    $(OUT); FLAGS="--epochs 10" and the like go to landmarks train)'
	@echo 'make docs                           build the documentation site in build/site, warnings as errors'
	@echo 'make notebooks                      execute the notebooks (DATA=<folder>, else drawn scenes) and keep'
	@echo '                                    their outputs'
	@echo 'make clean                          remove build/ with its runs, dist/ and the caches'

tag: photos-given $(CORE)
	@$(open_home); $(LANDMARKS) tag --model $(MODEL) -- "$$photos"

install: $(FULL)

test: $(FULL)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(FULL)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Warnings are errors in every run of pytest: see filterwarnings in pyproject.toml.
check: lint test

FOR := 120

fuzz: $(FUZZ)
	@mkdir -p build
	@PYTHONPATH=tests $(BIN)/python -c 'import hostile_inputs; print(*hostile_inputs.READERS, sep="\n")' | \
		xargs -P 0 -I READER sh -c \
		'log=build/fuzz-READER.log; \
		$(BIN)/python tests/fuzz.py READER --seconds $(FOR) >$$log 2>&1 || { cat $$log; exit 1; }; \
		echo "fuzz READER: $$(grep ^Done $$log), nothing found"'

# The drawn set is small: smaller batches give it enough steps.
drawn := $(filter build/drawn,$(DATA))
FLAGS := $(if $(drawn),--batch-size 16)

train: runs-free $(FULL) $(drawn)
	@$(LANDMARKS) train "$$data" --method scratch $(FLAGS) --out "$$out/scratch"
	@$(LANDMARKS) train "$$data" --method transfer $(FLAGS) --out "$$out/transfer"
	@$(LANDMARKS) export "$$out/scratch" --out "$$out/models/scratch"
	@$(LANDMARKS) export "$$out/transfer" --out "$$out/models/transfer"
	@picture=$$(find "$$data" -type f \( -iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' \) | sort | head -n 1); \
	for model in scratch transfer; do \
		$(LANDMARKS) predict --model "$$out/models/$$model" -- "$$picture" || exit; \
	done

docs: $(FULL)
	@$(BIN)/python docs/cli_page.py
	@$(BIN)/mkdocs build --strict --quiet
	@echo 'build/site/index.html'

notebooks: $(FULL)
	@$(if $(drawn),env -u DATA,DATA=$$(realpath "$$data")) $(BIN)/python notebooks/run.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# --- what the targets above stand on ---

# Not every shell opens the "~" of PHOTOS=~/Pictures.
open_home = case $$photos in "~/"*) photos=$$HOME/$${photos\#"~/"};; esac

# Looked at before anything is installed.
photos-given:
	@test -n "$$photos" || { \
		echo 'make tag: say which photos: make tag PHOTOS=<photo or folder>' >&2; exit 2; }
	@$(open_home); test -e "$$photos" || { \
		printf 'make tag: %s: no such file or folder: check the spelling\n' "$$photos" >&2; exit 2; }

runs-free:
	@for run in "$$out/scratch" "$$out/transfer"; do \
		test ! -e "$$run" || { \
			printf 'make train: %s: this run exists: remove it or choose OUT=<another folder>\n' "$$run" >&2; \
			exit 2; }; \
	done

# Drawn beside its place and moved there whole, so that an interrupted drawing is not taken for a data set.
build/drawn: tests/drawn.py | $(FULL)
	@rm -rf $@ $@.part
	@$(BIN)/python tests/drawn.py $@.part --classes 8 --train 30 --test 8
	@mv $@.part $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'make: $(PYTHON) is missing or older than 3.11: install Python 3.11 or newer,' \
			'or name one: make ... PYTHON=python3.12' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'make: $(PYTHON) cannot make a virtual environment: install its venv package' \
			'(Debian, Ubuntu: apt install python3-venv)' >&2; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)

# uv installs several times faster than pip; where it cannot be had or cannot reach the index, pip does the work.
# uv downloads everything before it installs anything, so an attempt that fails leaves nothing behind. $(3) prints
# options of the first attempt.
comma := ,
define install
@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || echo 'make: no uv here: installing with pip'
@options=$$($(3)); { test -n "$$options" && \
	$(BIN)/uv pip install $$options --python $(BIN)/python --editable $(1); } || \
	$(BIN)/uv pip install --python $(BIN)/python --editable $(1) || \
	$(BIN)/python -m pip install --editable $(1)
@touch $(2)
endef

$(CORE): pyproject.toml | $(BIN)/python
	@echo 'Installing landmarks into $(VENV) (once; about 260 MB with its dependencies)'
	$(call install,.,$(CORE),:)

$(FUZZ): pyproject.toml $(FULL)
	@echo 'Installing atheris into $(VENV)'
	$(call install,'.[fuzz]',$(FUZZ),:)

$(FULL): pyproject.toml | $(BIN)/python
	@echo 'Installing landmarks with PyTorch and the development tools into $(VENV) (once; 3 GB, or 7.5 GB with CUDA)'
	$(call install,'.[train$(comma)tune$(comma)track$(comma)search$(comma)cluster$(comma)openvino$(comma)docs$(comma)notebooks$(comma)dev]',$(CORE) $(FULL),$(BIN)/python .ci/torch_backend.py)
