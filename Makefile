# Thin front: the graph is in Snakefile, the work in lib/verdict. `make help` lists everything.
PROFILE ?= digits
PYTHON ?= python3.11
WHERE ?= local
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
INSTALLING := $(VENV)/.installing
# Outputs are stripped from notebooks as they are staged (.gitattributes names this filter), in the project's own
# repository and in no other that it lies in, or that a variable leads to.
STRIP = [ "$$(git rev-parse --show-prefix 2>/dev/null || echo none)" ] || git config filter.verdict-strip.clean 'PYTHONPATH=lib $(PY) -m verdict.report.strip'
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_PREFIX
# What a person gives, as the shell takes it for one word, whatever characters it holds.
define newline


endef
quoted = '$(subst $(newline), ,$(subst ','\'',$(value $(1))))'
export PYTHONPATH := $(CURDIR)/lib
export TF_CPP_MIN_LOG_LEVEL ?= 3
export JUPYTER_PLATFORM_DIRS ?= 1
# A report starts dozens of processes: compiled modules are kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env report test test-slurm verify lint lab watch check notebook diff publish presets bench bench-scale chaos clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making the environment in $(VENV) (a few minutes, once)"
	@# What an installation that was stopped has left looks installed to pip, and is not.
	@if [ -e $(INSTALLING) ]; then echo "the last installation did not end; it is removed"; rm -rf $(VENV); fi
	@$(PYTHON) -m venv $(VENV)
	@touch $(INSTALLING)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(STRIP)
	@rm $(INSTALLING)
	@touch $@

env: $(READY)  ## make the environment in .venv

report: $(READY)  ## make the whole report: PROFILE=digits (default), smoke, nlvr, ...; CORES=n; WHERE=local or slurm
	@$(PY) -m verdict.pipeline --profile=$(call quoted,PROFILE) --cores $(CORES) --where $(WHERE)

test: $(READY)  ## run all tests, a whole smoke report included
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-slurm: $(READY)  ## run the smoke report on the Slurm at hand and compare it with a local one (skipped where there is none)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m cluster -rs tests/test_slurm_cluster.py

verify: $(READY)  ## check this installation: the smoke report in a fresh clone, its numbers against the committed ones
	@$(PY) -m verdict.verify --cores $(CORES)

lint: $(READY)  ## check code style and notebooks
	@$(PY) -m ruff check lib tests notebooks
	@$(PY) -m ruff format --check lib tests
	@$(PY) -m verdict.report.lint notebooks/*.ipynb

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(STRIP)
	@cd notebooks && ../$(PY) -m jupyterlab

watch: $(READY)  ## render pages of PROFILE again whenever a notebook is saved
	@$(PY) -m verdict.report --profile=$(call quoted,PROFILE) --watch

check: $(READY)  ## tell what is wrong with notebooks, without running them: NB=05_test, or all
	@$(PY) -m verdict.report.check --profile=$(call quoted,PROFILE) $(if $(value NB),-- $(call quoted,NB))

notebook: $(READY)  ## start a notebook from a template: NAME=14_ablation, QUESTION='...?'
	@$(PY) -m verdict.report.template $(if $(value QUESTION),--question=$(call quoted,QUESTION)) $(if $(value NAME),-- $(call quoted,NAME))

diff: $(READY)  ## write a page of what changed between two runs: A=digits B=mine (profiles, or folders)
	@$(PY) -m verdict.report.compare -- $(if $(value A),$(call quoted,A)) $(if $(value B),$(call quoted,B))

publish: $(READY)  ## put a small copy of PROFILE's report under reports/published/ into git, for readers without Python
	@$(PY) -m verdict.report.publish --profile=$(call quoted,PROFILE)

presets: $(READY)  ## train the tiny presets that the package ships, again (minutes)
	@$(PY) -m verdict.pretrain

bench: $(READY)  ## measure speed and memory; BENCH=gpu: the published schedule on a GPU
	@$(PY) -m verdict.bench $(BENCH)

chaos: $(READY)  ## disturb small reports N times (100) from SEED (1), LANES (1) at a time, and compare what they store
	@$(PY) -m verdict.chaos --n $(or $(N),100) --seed $(or $(SEED),1) --cores $(CORES) --lanes $(or $(LANES),1)

bench-scale: $(READY)  ## measure scaling: workers, a Slurm's nodes, and cost by pairs, trials and seeds
	@$(PY) -m verdict.bench scale

clean:  ## remove what runs of PROFILE made, and say what (downloads and the environment stay)
	@$(or $(wildcard $(PY)),$(PYTHON)) -m verdict.clean --profile=$(call quoted,PROFILE)
