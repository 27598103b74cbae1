# Thin front: the graph is in Snakefile, the work in lib/verdict. `make help` lists everything.
PROFILE ?= digits
# The first Python at hand that every pin has a wheel for; `make PYTHON=/path/to/python` names another.
FITS = -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
PYTHON ?= $(shell for one in python3.11 python3.12 python3.13 python3; do if PYTHONHOME= $$one $(FITS); then echo $$one; break; fi; done)
WHERE ?= local
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
# An option, where the person gives the variable.
given = $(if $(value $(2)),--$(1)=$(call quoted,$(2)))
# A command has the same variables on every machine (lib/verdict/workflow/start.py), and ends when make does.
RUN := exec $(PY) -m verdict.workflow.start
# As many jobs at a time as there are processors, or as a container may use.
COUNT = PYTHONHOME= PYTHONPATH=lib $(PY) -c 'from verdict.workflow.place import n_processors; print(n_processors())'
JOBS = $(or $(CORES),$(shell $(COUNT)))
unexport $(filter PYTHON%,$(.VARIABLES))
export PYTHONPATH := $(CURDIR)/lib
export PYTHONUTF8 := 1
ifneq ($(findstring :,$(CURDIR))$(findstring $(newline),$(CURDIR)),)
$(error the path of this folder holds a colon or a line break, which no environment of Python stands: move the folder)
endif
# What a person may give on the command line: what the commands below read, and what belongs to the environment of make,
# pip and the run. A make that calls this one hands its own variables on.
KNOWN := PROFILE CORES WHERE PAIR LOG IN IMAGES OUT LABELS PAIRS CHECK SKIP WRITE NB NAME QUESTION A B ZIP BENCH N SEED LANES PYTHON
FOREIGN := SHELL MAKE% PIP_% UV_% VERDICT_% HF_% KAGGLE% SLURM% SBATCH_% CUDA_% OMP_NUM_THREADS TMPDIR
ifeq ($(MAKELEVEL),0)
UNKNOWN := $(filter-out $(KNOWN) $(FOREIGN),$(foreach one,$(.VARIABLES),$(if $(findstring command line,$(origin $(one))),$(one))))
ifneq ($(strip $(UNKNOWN)),)
$(error no command knows $(strip $(UNKNOWN)); known are $(KNOWN))
endif
endif

.DEFAULT_GOAL := help
.PHONY: help env report explain replay decide monitor export test test-slurm verify lint lab watch check notebook diff publish presets bench bench-scale chaos clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An environment whose Python was taken away (by an upgrade of the system's) is none, whatever its age.
ifneq ($(shell [ -e $(PY) ] || echo gone),)
.PHONY: $(READY)
endif

$(READY): requirements.txt
	@case "$$(uname -sm)" in "Linux "*|"Darwin arm64") ;; *) \
		echo "Verdict runs on Linux, on macOS with an Apple processor (arm64) and, on Windows, inside WSL; this is $$(uname -sm)"; \
		exit 1 ;; esac
	@[ ! "$(PYTHON)" ] || "$(PYTHON)" $(FITS) || { echo "$(PYTHON) is not there, or not Python 3.11, 3.12 or 3.13"; exit 1; }
	@echo "making the environment in $(VENV) with $(or $(PYTHON),uv) (a few minutes, once)"
	@# What an installation that was stopped has left looks installed to pip, and is not.
	@if [ -e $(INSTALLING) ]; then echo "the last installation did not end; it is removed"; rm -rf $(VENV); fi
	@if [ -e $(VENV) ] && [ ! -e $(PY) ]; then echo "the Python of $(VENV) is gone; it is made anew"; rm -rf $(VENV); fi
	@if [ "$(PYTHON)" ]; then "$(PYTHON)" -m venv $(VENV); else uv venv --quiet --allow-existing --python 3.11 $(VENV) 2>/dev/null || \
		{ echo "no Python 3.11, 3.12 or 3.13 was found: install one, or uv, or name one: make PYTHON=/path/to/python"; exit 1; }; fi
	@touch $(INSTALLING)
	@{ command -v uv && uv pip install --quiet --python $(PY) -r requirements.txt; } >/dev/null || \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@# By all processors, where pip uses one; files that are for other versions of Python do not compile.
	@$(PY) -m compileall -qq -j 0 "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true
	@$(STRIP)
	@rm $(INSTALLING)
	@# A list of pins from the future (a clock was wrong, or is) is no reason to install again with every command.
	@touch $@; [ ! requirements.txt -nt $@ ] || touch -r requirements.txt $@

env: $(READY)  ## make the environment in .venv

report: $(READY)  ## make the whole report: PROFILE=digits (default), smoke, nlvr, ...; CORES=n; WHERE=local or slurm
	@$(RUN) verdict.workflow.pipeline --profile=$(call quoted,PROFILE) --cores $(JOBS) --where $(WHERE)

explain: $(READY)  ## say in words why the report of PROFILE decided a pair as it did: PAIR=id [LOG=decisions.jsonl]
	@$(RUN) verdict.decide.log explain --profile=$(call quoted,PROFILE) $(call given,log,LOG) $(if $(value PAIR),-- $(call quoted,PAIR))

replay: $(READY)  ## decide every pair of PROFILE's log, or of LOG, again from what it holds, and tell any difference
	@$(RUN) verdict.decide.log replay --profile=$(call quoted,PROFILE) $(call given,log,LOG)

decide: $(READY)  ## decide new cases by the policy of PROFILE's report: IN=answers.jsonl (- is the input), or IN=pairs.csv [IMAGES=folder], OUT=decisions.jsonl
	@$(RUN) verdict.decide.log decide --profile=$(call quoted,PROFILE) $(call given,in,IN) $(call given,images,IMAGES) $(call given,out,OUT)

monitor: $(READY)  ## write a page on what IN=decisions.jsonl has decided since, with LABELS=labels.csv: is the promise still kept?
	@$(RUN) verdict.report.monitor --profile=$(call quoted,PROFILE) $(call given,log,IN) $(call given,labels,LABELS)

export: $(READY)  ## predict with PROFILE's model: PAIRS=new.jsonl IMAGES=folder OUT=a.csv [SKIP=1], or CHECK=a.csv LABELS=b.jsonl
	@$(RUN) verdict.model.export --profile=$(call quoted,PROFILE) $(call given,pairs,PAIRS) $(call given,images,IMAGES) $(call given,out,OUT) \
		$(call given,check,CHECK) $(call given,labels,LABELS) $(if $(value SKIP),--skip-unusable-images)

test: $(READY)  ## run all tests, a whole smoke report included
	@export OMP_NUM_THREADS=1; $(RUN) pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-slurm: $(READY)  ## run the smoke report on the Slurm at hand and compare it with a local one (skipped where there is none)
	@export OMP_NUM_THREADS=1; $(RUN) pytest -m cluster -rs tests/workflow/test_slurm_cluster.py

verify: $(READY)  ## check this installation: the smoke report in a fresh clone, its numbers against the committed table (WRITE=1: make it)
	@$(RUN) tests.bench.installation --cores $(JOBS) $(if $(value WRITE),--write)

lint: $(READY)  ## check code style and notebooks
	@$(PY) -m ruff check lib tests notebooks
	@$(PY) -m ruff format --check lib tests
	@$(PY) -m verdict.report.lint notebooks/*.ipynb

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(STRIP)
	@cd notebooks && ../$(PY) -m jupyterlab

watch: $(READY)  ## render pages of PROFILE again whenever a notebook is saved
	@$(RUN) verdict.report --profile=$(call quoted,PROFILE) --watch

check: $(READY)  ## tell what is wrong with notebooks, without running them: NB=05_test, or all
	@$(RUN) verdict.report.check --profile=$(call quoted,PROFILE) $(if $(value NB),-- $(call quoted,NB))

notebook: $(READY)  ## start a notebook from a template: NAME=14_ablation, QUESTION='...?'
	@$(RUN) verdict.report.template $(if $(value QUESTION),--question=$(call quoted,QUESTION)) $(if $(value NAME),-- $(call quoted,NAME))

diff: $(READY)  ## write a page of what changed between two runs: A=digits B=mine (profiles, or folders)
	@$(RUN) verdict.report.compare -- $(if $(value A),$(call quoted,A)) $(if $(value B),$(call quoted,B))

publish: $(READY)  ## put a small copy of PROFILE's report under reports/published/ into git; ZIP=1: also pack it as reports/PROFILE.zip
	@$(RUN) verdict.report.publish --profile=$(call quoted,PROFILE) $(if $(value ZIP),--zip)

presets: $(READY)  ## train the tiny presets that the package ships, again (about an hour on two cores)
	@$(PY) -m verdict.workflow.start verdict.model.presets
	@$(RUN) verdict.clip.encoder.shipped

bench: $(READY)  ## measure speed and memory; BENCH=gpu: the published schedule on a GPU
	@$(RUN) tests.bench $(BENCH)

chaos: $(READY)  ## disturb small reports N times (100) from SEED (1), LANES (1) at a time, and compare what they store
	@$(RUN) tests.chaos --n $(or $(N),100) --seed $(or $(SEED),1) --cores $(JOBS) --lanes $(or $(LANES),1)

bench-scale: $(READY)  ## measure scaling: workers, a Slurm's nodes, and cost by pairs, trials and seeds
	@$(RUN) tests.bench scale

clean:  ## remove what runs of PROFILE made, and say what (downloads and the environment stay)
	@$(or $(wildcard $(PY)),$(PYTHON)) -m verdict.workflow.clean --profile=$(call quoted,PROFILE)
