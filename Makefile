# Each target first makes what it needs: the virtual environment, with the locked dependencies.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(VERSION)
BIN := $(VENV)/bin
READY := $(VENV)/ready
BENCH := .venv/bench-$(VERSION)
BUILD := $(BIN)/python -m sphinx -c . -q
SITE := _build/site
# More workers than cores (at least two): half of the time, a page waits.
RUN := $(BIN)/python -m pytest -q -n 4

# Python for the browser, which the site's pages run in.
PYODIDE := _build/pyodide/ready

# This driver has no wheel, so it is not in the lock file: make test ENGINE=mariadb builds it.
MYSQLCLIENT := mysqlclient==2.3.2
PAGES := README.rst docs slides
ENGINES := postgresql mariadb mixed

ON_ENGINE = $(if $(ENGINE),$(BIN)/python -m livedocs.servers $(ENGINE) --)

.PHONY: help site test suites driver no-engine stress bench hints pdf epub html slides serve format lock clean usable

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## / ## /' | awk -F ' ## ' '{ printf "make %-8s %s\n", $$1, $$2 }'

site: $(READY) $(PYODIDE) ## run every page, then build the site and the deck; a block that did not run is an error
	$(RUN) $(PAGES)
	$(build_site)
	@echo "Open $(SITE)/index.html for the site, $(SITE)/slides/index.html for the deck."

ifneq ($(filter-out $(ENGINES),$(ENGINE)),)
$(error There is no engine '$(ENGINE)': ENGINE is one of $(ENGINES))
endif

# The site is built after its pages have run, and tests/built checks the result. The pages that run in a
# browser come last, one for each core, because other tests measure times. LIVE=recipes runs only these of them.
ifndef ENGINE
test: $(READY) $(PYODIDE) ## run all checks, on SQLite and PostgreSQL, and build the site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sphinx-lint --ignore=.venv --ignore=_build --enable=all --disable=line-too-long,default-role .
	$(BIN)/codespell
	$(RUN) -rs $(PAGES) tests --ignore tests/built
	@if $(BIN)/python -m livedocs.servers --find postgresql; then \
	    set -x; $(RUN) -rs --engine=postgresql $(PAGES) examples; \
	else echo "For this reason the pages were not run on PostgreSQL."; fi
	$(build_site)
	$(RUN) -rs tests/built --ignore tests/built/test_live.py
	$(BIN)/python -m pytest -q -n auto -rs $(if $(LIVE),-k $(LIVE)) tests/built/test_live.py
else
test: $(READY) suites ## with ENGINE=postgresql, mariadb or mixed: only the pages and the examples' tests, on that engine
	$(RUN) -rs --engine=$(ENGINE) $(PAGES) examples tests/test_examples.py
endif

suites: $(if $(ENGINE),,no-engine) $(READY) driver ## run the examples' own tests, with ENGINE=postgresql, mariadb or mixed
	@$(BIN)/python -m livedocs.servers $(ENGINE) -- sh -c 'for settings in examples/*/tests/$(ENGINE).py; do \
	    echo "== $$settings"; \
	    (cd "$${settings%/tests/*}" && "$(CURDIR)/$(BIN)/python" -m pytest -q -rs -n 4 --ds=tests.$(ENGINE)) || failed=1; \
	done; exit $$failed'

no-engine:
	$(error Name an engine, one of $(ENGINES): make suites ENGINE=postgresql)

driver: $(if $(filter mariadb,$(ENGINE)),$(VENV)/mysqlclient)
BENCH_DRIVER = $(if $(filter mariadb,$(ENGINE)),$(BENCH)/mysqlclient)

.venv/%/mysqlclient: .venv/%/ready
	@.venv/$*/bin/python -m pip install -q --disable-pip-version-check $(MYSQLCLIENT) || { \
	    echo "$(MYSQLCLIENT) must be compiled. On Debian and Ubuntu, first: apt install gcc libmariadb-dev pkg-config python3-dev"; \
	    exit 1; }
	@touch $@

stress: $(READY) $(if $(ENGINE),driver) ## run the long forms of the examples' tests (many kills and operations), on ENGINE if you name it
	$(call long,replication,stress or kill)
	$(call long,sharding,processes_at_once or killed_under)
	$(call long,replicated_shards,killed)
	$(if $(ENGINE),,$(call long,shadowing,same))
	$(if $(filter postgresql mariadb,$(ENGINE)),$(call long,distributed,takeover))
	$(ON_ENGINE) sh -c 'cd examples/functional && STRESS=1 UNDER=$(if $(ENGINE),tests.$(ENGINE),shop.settings) \
	    "$(CURDIR)/$(BIN)/python" -m pytest -q -s --ds=tests.with_orders tests/outbox/test_kills.py'

# Runs the tests of an example that have a long form.
long = $(ON_ENGINE) sh -c 'cd examples/$(1) && STRESS=1 "$(CURDIR)/$(BIN)/python" -m pytest -q -s -k "$(2)" $(if $(ENGINE),--ds=tests.$(ENGINE))'

bench: $(BENCH)/ready $(if $(ENGINE),$(READY) driver $(BENCH_DRIVER)) ## measure what each pattern costs, into benchmarks/results, on ENGINE if you name it
	$(BENCH)/bin/python -m benchmarks.replication $(ENGINE)
	$(ON_ENGINE) $(BENCH)/bin/python -m benchmarks.sharding $(ENGINE)
	$(ON_ENGINE) $(BENCH)/bin/python -m benchmarks.outbox $(ENGINE)
ifndef ENGINE
	$(BENCH)/bin/python -m benchmarks.shadowing
	$(BENCH)/bin/python -m benchmarks.one_database
else
	$(if $(filter postgresql,$(ENGINE)),$(ON_ENGINE) $(BENCH)/bin/python -m benchmarks.growth $(ENGINE))
	$(BENCH)/bin/python -m benchmarks.distributed $(ENGINE)
	$(ON_ENGINE) $(BENCH)/bin/python -m benchmarks.two_phase $(ENGINE)
endif

# The newest patch release of each. A release that is added here is in the matrix of docs/hints.rst.
DJANGOS := 5.2 6.0 6.1

hints: $(DJANGOS:%=pictures/hints/django-%.json) ## record what each release of Django asks a router, into pictures/hints

# Django 6.0 and later need Python 3.12.
pictures/hints/django-%.json: FORCE | usable
	$(if $(call runs,import sys; assert sys.version_info >= (3, 12)),,$(error Python $(VERSION) is too old for Django 6: name 3.12 or later: make hints PYTHON=python3.13))
	test -d .venv/django-$* || $(PYTHON) -m venv .venv/django-$*
	.venv/django-$*/bin/python -m pip install -q --disable-pip-version-check --upgrade "Django==$*.*"
	.venv/django-$*/bin/python pictures/hints/record.py > .venv/django-$*/hints.json
	mv .venv/django-$*/hints.json $@

FORCE:

pdf: site ## print the deck and a handout with its notes as PDF files, which the site then links to
	$(BIN)/python -m slides.to_pdf $(SITE)/slides
	$(BUILD) -t pdf -n -W --keep-going -b html -d _build/doctrees/site docs $(SITE)

epub: $(READY) ## build the site as a book, with the marks of the last run
	$(BUILD) -n -b epub -d _build/doctrees/epub docs _build/epub
	@ls _build/epub/*.epub

html: $(READY) ## build the site without running its pages, which is quick
	$(BUILD) -n -b html -d _build/doctrees/site docs $(SITE)

slides: $(READY) ## build the deck without running its blocks
	$(BUILD) -n -b revealjs -d _build/doctrees/slides slides $(SITE)/slides

serve: $(READY) ## serve the site on http://127.0.0.1:8000, and build it again when its sources change
	$(BIN)/sphinx-autobuild -c . -n -b html -d _build/doctrees/site --watch examples docs $(SITE)

format: $(READY) ## format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## write requirements.lock again, from pyproject.toml; UPGRADE=1 takes the newest versions
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal $(if $(UPGRADE),--upgrade) --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 pyproject.toml -o requirements.lock

clean: ## remove all that these targets made
	rm -rf _build .venv

# The environment is made again each time its list of packages changes.
$(READY): requirements.lock | usable
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(PYODIDE): live/requirements.txt | $(READY)
	rm -rf _build/pyodide
	$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --require-hashes -r $< -d _build/pyodide
	@touch $@

$(BENCH)/ready: benchmarks/requirements.txt | usable
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@

usable:
	$(if $(VERSION),,$(error $(PYTHON) does not run: install Python 3.11 or later, or name another Python: make PYTHON=python3.13))
	$(if $(call runs,import sys; assert sys.version_info >= (3, 11)),,$(error Python $(VERSION) is too old: install 3.11 or later, and name it: make PYTHON=python3.13))
	$(if $(call runs,import venv; import ensurepip),,$(error $(PYTHON) has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)))

define build_site
	rm -f $(SITE)/slides/*.pdf
	$(BUILD) -n -W --keep-going -b html -d _build/doctrees/site docs $(SITE)
	$(BUILD) -n -W --keep-going -b revealjs -d _build/doctrees/slides slides $(SITE)/slides
endef

runs = $(shell $(PYTHON) -c '$(1)' 2>/dev/null && echo yes)

.DEFAULT:
	$(error There is no target '$@': run make without a target to list them)
