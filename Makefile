# Everything runs from a virtual environment in .venv, installed from constraints.txt.

MANIFEST ?= manifests/quickstart.yaml
PROVIDER ?= local
RUN_FLAGS ?=
BENCH_FLAGS ?=
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))

BIN := .venv/bin
# One word for the shell, whatever a file is called; after `--` it is no option either.
quoted = '$(subst ','\'',$(1))'
PINS := $(shell cksum pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# What runs need; and, with it, what the tests load exports with, which is several times as much.
RUNNABLE := .venv/runnable-$(PINS)
INSTALLED := .venv/installed-$(PINS)

.PHONY: run test lint browser bench campaign nodes night mutate between fuzz-state audit clean FORCE
.PRECIOUS: outputs/%/results.csv

run: $(RUNNABLE) ## make the images of MANIFEST (embedded service: no key, no cost)
	$(BIN)/nanobanana-batch run --provider $(PROVIDER) $(RUN_FLAGS) -- $(call quoted,$(MANIFEST))

# A target like any other: `make outputs/parti/results.csv`. The program itself knows best whether there
# is something to do (a table behind the manifest, a deleted image), so it is always asked; it sends
# nothing and leaves the file untouched when there is not, and fails while rows are incomplete.
outputs/%/results.csv: manifests/%.yaml $(RUNNABLE) FORCE
	$(BIN)/nanobanana-batch run --out $(call quoted,outputs/$*) --provider $(PROVIDER) $(RUN_FLAGS) -- $(call quoted,$<)

outputs/%/results.csv: manifests/%.csv $(RUNNABLE) FORCE
	$(BIN)/nanobanana-batch run --out $(call quoted,outputs/$*) --provider $(PROVIDER) $(RUN_FLAGS) -- $(call quoted,$<)

# All steps of a chain, in the order of their names; a step that is not complete ends it.
pipelines/%: $(RUNNABLE) FORCE
	for step in $(call quoted,$@)/*.yaml; do \
	  $(BIN)/nanobanana-batch run --provider $(PROVIDER) $(RUN_FLAGS) -- "$$step" || exit; \
	done

# Most tests wait for processes and sockets: four at once fit on two cores. Hundreds of processes start, so
# what Python has compiled is kept for the next one, whatever the shell says. Thousands of commits are synced:
# where there is room for it, what tests write lies in memory (power loss is played by the tests themselves).
IN_MEMORY = $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }')" -gt 4000000 \
  2>/dev/null && echo /dev/shm)

test: export PYTHONDONTWRITEBYTECODE =
test: lint browser ## lint, strict types, tests
	TMPDIR=$${TMPDIR:-$(IN_MEMORY)} $(BIN)/python -m pytest -n 4 --dist worksteal

# Pages are looked at in a real browser. Where there is none and none can be had, those tests are skipped
# and counted, each with this reason.
browser:
	@for name in chromium chromium-browser google-chrome; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	    chromium fonts-dejavu-core) >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "No Chromium here (on Debian: apt-get install chromium): tests of pages are skipped." >&2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## an hour: every figure with its target and a verdict (BENCH_FLAGS=--quick: small)
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

campaign: $(INSTALLED) ## an hour of kills, crowds and interrupts, judged by the service's ledger
	$(BIN)/python -m tests.campaign.kill --kills 1000
	$(BIN)/python -m tests.campaign.kill_first --kills 60
	$(BIN)/python -m tests.campaign.kill_shards --kills 100
	$(BIN)/python -m tests.campaign.crowd --pairs 50 --step 0.01
	$(BIN)/python -m tests.campaign.fuzz_service --examples 300
	$(BIN)/python -m tests.campaign.fuzz_manifest --examples 20000

nodes: $(INSTALLED) ## a quarter of an hour of nodes and drivers of a Ray cluster that die, judged by the ledger
	$(BIN)/python -m tests.campaign.kill_nodes --kills 20

night: $(INSTALLED) ## some twenty minutes alone with a provider in trouble, judged by the service's ledger
	$(BIN)/python -m tests.campaign.night
	$(BIN)/python -m tests.campaign.strict_night --idempotency honoured
	$(BIN)/python -m tests.campaign.strict_night --idempotency unproven
	$(BIN)/python -m tests.campaign.strict_night --idempotency unproven --keys body_first
	$(BIN)/python -m tests.campaign.strict_night --idempotency unproven --keys ignored
	$(BIN)/python -m tests.campaign.strict_night --idempotency ignored

mutate: $(INSTALLED) ## an hour with a provider that answers otherwise, one thing changed at a time
	$(BIN)/python -m tests.campaign.mutate

between: $(INSTALLED) ## some twenty minutes of what people do between runs, judged by an independent ledger
	$(BIN)/python -m tests.campaign.between --sequences 500

fuzz-state: $(INSTALLED) ## a quarter of an hour of folders and profiles that somebody has changed
	$(BIN)/python -m tests.campaign.fuzz_state --examples 2000

audit: $(INSTALLED) ## known faults of the dependencies, where pip-audit can reach its data
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --disable-pip --no-deps --requirement constraints.txt

clean: ## the environment and caches; outputs stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNNABLE): pyproject.toml constraints.txt
ifeq ($(PYTHON),)
	@echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3" >&2; exit 1
endif
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "This Python has no venv module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@rm -f .venv/runnable-* && touch $@

$(INSTALLED): $(RUNNABLE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f .venv/installed-* && touch $@
FORCE:
