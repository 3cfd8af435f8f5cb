# Everything a newcomer or a build needs; `make help` lists it. Python 3.11 or later and make are all that must be there.

VENV := .venv
PIP := -m pip --disable-pip-version-check --no-input --quiet
INSTALL := install --require-hashes --only-binary :all:
# Locks are made for every platform and hold hashes, never addresses.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# The system's own Python comes first: distributions build theirs with profiles, which makes the server about a tenth
# cheaper than what version managers build, and mend its security. One that can't make environments comes last of all.
PYTHON ?= $(shell for module in ensurepip sys; do \
	for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c "import $$module, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo "$$python" && exit; \
	done; done)

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: run
run: $(VENV)/.runtime  ## serve the development deployment in certs-dev/, which is made first if it is not there
	@test -e certs-dev/server.yaml || $(VENV)/bin/python certs-dev/make_dev_pki.py
	@exec $(VENV)/bin/certwright serve --config certs-dev/server.yaml

# A process for each core; the tests of one file stay together because they share servers and keys.
PARALLEL ?= --numprocesses=auto --dist=loadfile

.PHONY: test
test: $(VENV)/.dev  ## run all tests; ARGS="tests/ca -k csr" selects, COVERAGE=1 measures
	@# Once, not in each of the servers that tests start: where Python is told to keep no bytecode, each would.
	@$(VENV)/bin/python -m compileall -q ca policies server
ifdef COVERAGE
	@rm -f .coverage .coverage.*
	$(VENV)/bin/coverage run -m pytest $(PARALLEL) $(ARGS)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report
else
	$(VENV)/bin/python -m pytest $(PARALLEL) $(ARGS)
endif

.PHONY: mutation
mutation: $(VENV)/.dev  ## change the policy engine in one place after the other and see whether its tests notice; ARGS="--most 50"
	$(VENV)/bin/python tests/mutation.py $(ARGS)

.PHONY: check
check: $(VENV)/.dev  ## format, lint, types and import contracts
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

.PHONY: certbot
certbot: .venv-certbot/.installed  ## install certbot into .venv-certbot, as a client to try and test with

.PHONY: aioacme
aioacme: .venv-aioacme/.installed  ## install aioacme into .venv-aioacme, as a client to test with

.PHONY: acme-client
acme-client: .venv-acme-client/.installed  ## install acme-client into .venv-acme-client (needs Node.js and npm), likewise

.PHONY: pebble
pebble: .venv-pebble/.installed  ## build Pebble into .venv-pebble (needs Go), an ACME server to test with

.PHONY: acme-go
acme-go: .venv-acme-go/.installed  ## build clients from ACME libraries for Go into .venv-acme-go (needs Go), likewise

.PHONY: acme4j
acme4j: .venv-acme4j/.installed  ## fetch acme4j into .venv-acme4j (needs Maven), an ACME client to test with

.PHONY: jscep
jscep: .venv-jscep/.installed  ## fetch jscep into .venv-jscep (needs Maven), a SCEP client to test with

# SECONDS for each of the targets that TARGETS names, by the beginnings of their names; all without any.
SECONDS ?= 60
.PHONY: fuzz
fuzz: .venv-fuzz/.installed  ## look for octets that break a decoder; TARGETS="est cms.signed" selects, SECONDS=600 each
	.venv-fuzz/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

.PHONY: lock
lock:  ## resolve all dependencies anew into requirements/ (needs uv)
	printf 'setuptools>=80\nwheel\n' | $(LOCK) --upgrade --output-file requirements/build.txt -
	$(LOCK) --upgrade --output-file requirements/runtime.txt pyproject.toml
	$(LOCK) --upgrade --output-file requirements/dev.txt --constraints requirements/runtime.txt --group dev
	$(LOCK) --upgrade --output-file requirements/certbot.txt --group certbot
	$(LOCK) --upgrade --output-file requirements/aioacme.txt --group aioacme
	cd requirements/acme-client && npm update --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts
	$(LOCK) --upgrade --output-file requirements/fuzz.txt --constraints requirements/runtime.txt --group fuzz

.PHONY: clean
clean:  ## remove what can be made again; certs-dev/ stays
	rm -rf $(VENV) .venv-* .fuzz build *.egg-info .coverage .coverage.* .hypothesis .*_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON), $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

# The project is installed in place: what is edited is what runs.
$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Certwright runs on, hash by hash"
	@$(VENV)/bin/python $(PIP) $(INSTALL) -r requirements/build.txt -r requirements/runtime.txt
	@$(VENV)/bin/python $(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "Installing the tools for tests and checks"
	@$(VENV)/bin/python $(PIP) $(INSTALL) -r requirements/dev.txt
	@touch $@

# Go verifies the module's checksum by its own database.
.venv-pebble/.installed:
	@command -v go >/dev/null || { echo "Go is needed to build Pebble" >&2; exit 1; }
	@for program in pebble pebble-challtestsrv; do \
		GOBIN=$(CURDIR)/.venv-pebble/bin go install github.com/letsencrypt/pebble/v2/cmd/$$program@v2.10.1 || exit 1; done
	@touch $@

# go.sum pins every module by its hash.
.venv-acme-go/.installed: $(wildcard tests/wire/acme_go/*)
	@command -v go >/dev/null || { echo "Go is needed to build the clients" >&2; exit 1; }
	@cd tests/wire/acme_go && go build -mod=readonly -buildvcs=false -o $(CURDIR)/.venv-acme-go/acme-go .
	@touch $@

# Maven doesn't pin what it fetches; the hashes do, and tests use no jar without one.
.venv-jscep/.installed .venv-acme4j/.installed: .venv-%/.installed: tests/wire/%/pom.xml tests/wire/%/jars.sha256
	@command -v mvn >/dev/null || { echo "Maven is needed to fetch $*" >&2; exit 1; }
	@rm -rf .venv-$*
	@mvn --quiet --batch-mode --strict-checksums --file $< dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.venv-$*
	@cd .venv-$* && sha256sum --check --strict --quiet $(CURDIR)/tests/wire/$*/jars.sha256
	@touch $@

.venv-fuzz/.installed: requirements/runtime.txt requirements/fuzz.txt | $(VENV)/bin/python
	@test -x .venv-fuzz/bin/python || "$(PYTHON)" -m venv .venv-fuzz
	@.venv-fuzz/bin/python $(PIP) $(INSTALL) -r requirements/runtime.txt -r requirements/fuzz.txt
	@touch $@

.venv-certbot/.installed .venv-aioacme/.installed: .venv-%/.installed: requirements/%.txt | $(VENV)/bin/python
	@test -x .venv-$*/bin/python || "$(PYTHON)" -m venv .venv-$*
	@.venv-$*/bin/python $(PIP) $(INSTALL) -r requirements/$*.txt
	@touch $@

# npm verifies the hash of every package, and where they come from is its own setting.
.venv-acme-client/.installed: requirements/acme-client/package.json requirements/acme-client/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js and npm are needed to install acme-client" >&2; exit 1; }
	@mkdir -p .venv-acme-client && cp $^ .venv-acme-client/
	@cd .venv-acme-client && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@
