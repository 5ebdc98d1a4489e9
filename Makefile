# `make help` lists the targets. Everything is installed into .venv, .venv-* and node_modules, removable at any time.

VENV := .venv
PYTHON ?= $(or $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done),\
	$(error Python 3.11 or newer is needed: install it, or give its path with `make PYTHON=/path/to/python3`))
RUN := $(VENV)/bin/python
ADDRESS ?= 127.0.0.1:8000
LAN ?=
LISTEN = $(if $(LAN),--lan $(LAN)) $(ADDRESS)
BENCH ?=

# Plausible values of production, so that `check --deploy` judges the configuration that production would have.
SITE := ALLOWED_HOSTS=chat.example.org TRUSTED_PROXY_COUNT=1 CSRF_TRUSTED_ORIGINS=https://chat.example.org \
	DATABASE_URL=postgres://user:password@localhost/messaging \
	SECRET_KEY=$$($(RUN) -c 'import secrets; print(secrets.token_urlsafe(64))')
GATEWAY := a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/production
ON_KUBERNETES := DEPLOYMENT_MODE=kubernetes $(SITE) REDIS_URL=redis://localhost:6379/0
ON_AWS := DEPLOYMENT_MODE=aws $(SITE) AWS_REGION=eu-central-1 CONNECTIONS_TABLE_NAME=messaging-connections \
	WEBSOCKET_API_ENDPOINT=https://$(GATEWAY) WEBSOCKET_PUBLIC_URL=wss://$(GATEWAY)

.PHONY: help run test test-quick coverage faults fuzz lint format bench bench-quick bench-docs bench-database bench-visit screenshots lighthouse messages \
	services constraints clean
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## serve everything on http://localhost:8000 (ADDRESS=host:port overrides; LAN=1: for phones on this Wi-Fi)
	@$(RUN) manage.py migrate --verbosity 0
	@$(RUN) manage.py messaging_prune > /dev/null
	@$(RUN) manage.py messaging_operator
	@$(RUN) manage.py runserver $(LISTEN)

# Containers with the limits of the manifests need Linux and root. Elsewhere, `make test` runs the other tests and says so.
CONTAINERS := $(shell test "$$(uname -s) $$(id -u)" = 'Linux 0' && echo containers)

TOOLS := $(foreach name,aws k8s ministack,$(VENV)-$(name)/.installed)

# Tests mostly wait for other processes, so two workers keep a core busy. Each worker has its own services.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
PYTEST := $(VENV)/bin/pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations 20

test: services $(VENV)/.dev $(TOOLS) node_modules/.package-lock.json ## run every test, with the real services
	$(if $(CONTAINERS),,@echo 'Skipped: the tests of the image, which need Linux and root (`make test-image`)')
	node --test tests/unit/js/
	@$(VENV)-aws/bin/python -m aws package production # the tests deploy it
	$(PYTEST) -m '$(if $(CONTAINERS),,not image)'

# A third slower, because every measured server is.
coverage: PYTEST += --cov
coverage: test ## run every test, and list the lines that no test covers, those of the servers included

test-quick: services $(VENV)/.dev $(VENV)-k8s/.installed node_modules/.package-lock.json ## run the quick tests, without browser, containers and AWS: for use while you work
	node --test tests/unit/js/
	$(PYTEST) -m 'not (browser or image or aws or slow)'

RUNS ?= 50
faults: services $(VENV)/.dev ## look for rare faults: run the fault tests RUNS times (50) instead of once
	RUNS=$(RUNS) $(PYTEST) tests/deployments/test_faults.py tests/deployments/test_chaos.py

SECONDS ?= 3600
fuzz: services $(VENV)/.dev ## send the server what no browser sends, for SECONDS (3600) or until a fault (SEED, INPUTS: again)
	$(RUN) -m tests.support.fuzzer --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(INPUTS),--inputs $(INPUTS))

SHELL_SCRIPTS := .ci/run $(wildcard compose/deploy compose/*.sh compose/stand-ins/*.sh scripts/*)

lint: $(VENV)/.dev node_modules/.package-lock.json ## check style, types, templates, scripts, workflows, migrations, deployment
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/djlint --quiet --lint --check templates
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)
	$(VENV)/bin/shfmt --diff $(SHELL_SCRIPTS)
	node_modules/.bin/biome check --error-on-warnings
	$(VENV)/bin/cfn-lint aws/template.yaml
	$(VENV)/bin/zizmor --offline --quiet .github
	node_modules/.bin/tsc --noEmit
	$(RUN) manage.py makemigrations --check --dry-run
	$(ON_KUBERNETES) $(RUN) manage.py check --deploy --fail-level WARNING
	$(ON_AWS) $(RUN) manage.py check --deploy --fail-level WARNING

format: $(VENV)/.dev node_modules/.package-lock.json ## format Python, templates, scripts and styles
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format
	$(VENV)/bin/djlint --quiet --reformat templates
	$(VENV)/bin/shfmt --write $(SHELL_SCRIPTS)
	node_modules/.bin/biome check --write

PEERS := bench/peers/node_modules/.package-lock.json
MEASURED := services $(VENV)/.dev $(VENV)-ministack/.installed $(PEERS) aws-package

bench: $(MEASURED) ## compare with stock Channels, Node and websockets: 20 to 30 minutes on an idle machine
	$(RUN) -m bench $(BENCH)

bench-quick: $(MEASURED) ## a small run of the same, to check that the bench works
	$(RUN) -m bench --quick

bench-docs: $(VENV)/.dev ## write the last run into docs/performance.md
	$(RUN) -m bench --docs

bench-database: services $(VENV)/.dev ## measure response times with a million messages (some minutes)
	$(RUN) -m bench.database $(BENCH)

bench-visit: services $(VENV)/.dev ## measure what a first visit costs the server (a minute)
	$(RUN) -m bench.first_visit

screenshots: services $(VENV)/.dev node_modules/.package-lock.json ## take screenshots of every state of the pages, into var/screenshots
	rm -rf var/screenshots
	SCREENSHOTS=$(CURDIR)/var/screenshots $(VENV)/bin/pytest --no-cov -k 'not aws' tests/pages

lighthouse: services $(VENV)/.dev node_modules/.package-lock.json ## run Lighthouse on the visitors' page
	PERFORMANCE=yes $(VENV)/bin/pytest --no-cov -s tests/pages/test_lighthouse.py

# Without line numbers and dates, which would change with every unrelated change.
messages: services $(VENV)/.runtime ## collect the texts of pages into locale/ and compile them: run before and after translating
	@$(RUN) manage.py makemessages --all --no-location --no-obsolete --no-wrap \
		--ignore tests --ignore node_modules --ignore var
	@for po in locale/*/LC_MESSAGES/django.po; do \
		sed -i.with-date '/^"POT-Creation-Date:/d' $$po && rm $$po.with-date && \
		msgfmt --check-format --statistics --output-file $${po%.po}.mo $$po || exit; done

services: ## install the programs that the tests start: Redis, PostgreSQL, nginx, Chromium, gettext, podman
	@scripts/services $(CONTAINERS)
	@scripts/valkey

# With `-r`, pip freeze lists the named packages first, and their dependencies after a comment line.
constraints: ## pin the indirect dependencies again (use the oldest supported Python)
	echo '# The indirect dependencies. Made by `make constraints`.' > constraints.txt
	$(PYTHON) -m venv --clear .venv-constraints
	.venv-constraints/bin/pip install --quiet -r requirements-dev.txt
	sed '/^-c /d' requirements.txt | .venv-constraints/bin/pip freeze -r /dev/stdin -r requirements-dev.txt | \
		sed '1,/^## /d' >> constraints.txt
	rm -r .venv-constraints

clean: ## remove everything installed and built, except your data in var/
	rm -rf $(VENV) $(VENV)-* node_modules bench/peers/node_modules .mypy_cache .pytest_cache .ruff_cache .coverage

# A stamp is as new as the last installation, so later runs install nothing.
$(VENV)/.runtime: requirements.txt constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo 'Installing requirements.txt'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-build.txt requirements-dev.txt
	@echo 'Installing requirements-dev.txt'
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Tools whose dependencies are not the project's: each has an environment of its own.
$(VENV)-%/.installed: requirements-%.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@echo 'Installing $<'
	@$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

# The packages' install scripts do not run: none is needed.
$(PEERS): bench/peers/package.json bench/peers/package-lock.json
	npm ci --prefix bench/peers --ignore-scripts --no-audit --no-fund
	@touch $@

include aws/targets.mk k8s/targets.mk
