# Two commands matter to a newcomer: make demo, make test. The rest is for those who work on the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# Tests wait for processes, timers and disks for a fifth of their time: three workers keep two processors busy.
WORKERS ?= $(shell expr \( $$(nproc) \* 3 + 1 \) / 2)
# What tests/several_machines run, and deploy/ha.
MACHINES := haproxy pgbouncer etcd-server:etcd postgresql:/usr/lib/postgresql python3-venv:/usr/share/doc/python3-venv

.PHONY: demo test test-browser test-long lint types bench bench-attacks bench-guessing bench-growth bench-readings bench-pages bench-collection bench-acts bench-instructions bench-load bench-messages bench-journey bench-guard screenshots accessibility messages docs sbom release lock clean

demo: $(READY)
	$(BIN)/consent-server sandbox up --walk $(if $(ONCE),--once) $(if $(PORT),--base-port $(PORT)) $(if $(DATABASE_URL),--database-url $(DATABASE_URL))

test: $(READY)
	@scripts/debian-packages chromium nginx strace systemd:systemd-analyze git openssh-client:ssh-keygen openssl prometheus:promtool softhsm2:softhsm2-util $(MACHINES)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not long" $(PYTEST_ARGS)

test-browser: $(READY)
	@scripts/debian-packages chromium
	$(BIN)/pytest -m browser $(PYTEST_ARGS)

test-long: $(READY)
	@scripts/debian-packages chromium firefox-esr nginx strace sqlite3 softhsm2:softhsm2-util default-jre-headless:java maven:mvn $(MACHINES)
	CONSENT_FAULTS_SEED=$${CONSENT_FAULTS_SEED:-$$(date +%s)} $(BIN)/pytest -n auto --dist loadgroup -m "long and not alone" $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(BIN)/pytest -m "long and alone" $(PYTEST_ARGS) || [ $$? -eq 5 ]  # 5: no test of this kind where PYTEST_ARGS says

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m bench

# What the back channel costs, served on one core; takes some minutes. PROFILE=1: where the time goes; BEFORE=checkout: ratios to
# another commit; PEER=1: ratios to oidc-provider (needs node).
bench-acts: $(READY)
	$(if $(PEER),cd bench/peer && npm ci --no-audit --no-fund)
	$(BIN)/python -m bench.acts $(if $(PROFILE),--profile) $(if $(BEFORE),--before $(BEFORE)) $(if $(PEER),--peer)

# Half an hour of 150 requests a second from three clients, on each database; takes an hour on a machine that does nothing else.
bench-load: $(READY)
	$(BIN)/python -m bench.load

# How fast withdrawal messages leave to a hundred clients, and what one costs; takes a minute.
bench-messages: $(READY)
	$(BIN)/python -m bench.messages

# How many instructions an act of the back channel takes, beside bench/instructions.json; takes a minute.
bench-instructions: $(READY)
	@scripts/debian-packages valgrind
	$(BIN)/python -m bench.instructions

# What hostile clients cost an honest one, in a sandbox of its own; takes ten minutes.
bench-attacks: $(READY)
	$(BIN)/python -m bench.attacks

# What a day of guessing gains and what it costs the owner; takes a minute or two.
bench-guessing: $(READY)
	$(BIN)/python -m bench.guessing

# A meter's year from Parquet files, and out of our own tables on SQLite; takes a minute.
bench-readings: $(READY)
	$(BIN)/python -m bench.readings
	$(BIN)/python -m bench.own_readings

# Transactions, statements and processor time of each page of the SME, on both databases; takes half a minute.
bench-pages: $(READY)
	$(BIN)/python -m bench.pages

# A first and a monthly collection of 100 SMEs with four meters each; takes some minutes.
bench-collection: $(READY)
	$(BIN)/python -m bench.collection

# What a question to the guard as a service costs; takes a minute.
bench-guard: $(READY)
	$(BIN)/python -m bench.guard

# What the pages of each journey ask of a person, counted in a sandbox; takes a minute.
bench-journey: $(READY)
	$(BIN)/python -m bench.journey

# What a million permissions cost each request and job; fills two databases, which takes some minutes and 6 GB.
bench-growth: $(READY)
	$(BIN)/python -m bench.growth

screenshots: $(READY)
	@scripts/debian-packages chromium
	$(BIN)/python -m scripts.screenshots

# Every page in every view; takes some minutes.
accessibility: $(READY)
	@scripts/debian-packages chromium
	ACCESSIBILITY_TABLE=docs/accessibility.md $(BIN)/pytest -m long tests/pages

# The Welsh catalogue, brought up to date with the code and compiled.
messages: $(READY)
	$(BIN)/python -m scripts.messages

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs/site -d build/docs/.doctrees . build/docs

sbom: $(READY)
	$(BIN)/python -m scripts.sbom build/sbom.cdx.json

# The files of a release of COMMIT, signed with KEY; without it to compare with those that were published.
release: $(READY)
	$(BIN)/python -m scripts.release $(if $(KEY),--key $(KEY)) $(if $(COMMIT),--commit $(COMMIT)) build/release

COMPILE := $(BIN)/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
  --strip-extras --allow-unsafe

lock: $(READY)
	$(COMPILE) --extra server -o requirements/production.lock pyproject.toml
	$(COMPILE) -c requirements/production.lock -o requirements/guard.lock pyproject.toml
	$(COMPILE) --extra server --extra dev -c requirements/production.lock -o requirements/dev.lock pyproject.toml
	$(COMPILE) -o deploy/ha/patroni.lock deploy/ha/patroni.in
	$(COMPILE) -o tests/interop/ib1-provenance.lock tests/interop/ib1-provenance.in

$(READY): pyproject.toml requirements/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is not that. Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock || \
	  { echo "The dependencies could not be installed. When pip reaches its package index (PIP_INDEX_URL), run make again." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

clean:
	rm -rf $(VENV) .sandbox
