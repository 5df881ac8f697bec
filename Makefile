# `make run` tries kokon; `make test` and `make check` are for changing it (CONTRIBUTING.md).

PYTHON ?= python3
USE := .venv
DEV := build/venv
PROGRAMS := src/kokon/_programs/digests
C_SOURCES := $(wildcard init/*.[ch] launcher/*.[ch])
PACKAGE := pyproject.toml hatch_build.py tools/compile.py $(C_SOURCES) \
	$(shell find src/kokon -name '*.py' -o -name '*.json' -o -name py.typed)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: run build generate test test-clients test-guest check check-init bench clean

run: $(USE)/installed
	@$(USE)/bin/kokon run @python python3 -c \
	'import os; print("Hello from a container of my own: I am process", os.getpid())'
	@echo "That was: $(USE)/bin/kokon run @python python3 -c '...'"
	@echo "Next, the steps that it took, each with its reason:"
	@echo "    $(USE)/bin/kokon explain run --memory 100M @python python3"
	@echo "and everything else: $(USE)/bin/kokon --help"

build: $(PROGRAMS)

generate: $(DEV)/installed
	$(DEV)/bin/python tools/generate.py
	$(DEV)/bin/python tools/security_table.py

test: $(DEV)/installed build
	$(DEV)/bin/pytest -m "not slow" -rsfE --ignore=tests/clients

# With engines that are installed: kokon under Podman, Docker, containerd and its CRI, and inside
test-clients: $(DEV)/clients build
	$(DEV)/bin/pytest -rsfE tests/clients

# On cgroup v2 with systemd, in a throw-away guest; VM names the command that runs one
test-guest: $(DEV)/installed build
	tests/guest/run

check: $(DEV)/installed build check-init
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy
	$(DEV)/bin/mypy hatch_build.py tools/compile.py
	$(DEV)/bin/python tools/generate.py --check
	$(DEV)/bin/python tools/security_table.py --check
	$(DEV)/bin/pytest tests/unit/test_layers.py

# init under the sanitizers, with short fuzzing
check-init: $(DEV)/installed
	$(if $(wildcard tests/fuzz/test_*.py),$(DEV)/bin/pytest tests/fuzz)

# as root; says which programs to compare with are not installed
bench: $(DEV)/installed $(USE)/installed build
	$(DEV)/bin/python benchmarks/start.py
	$(DEV)/bin/python benchmarks/growth.py
	$(DEV)/bin/python benchmarks/live.py
	$(DEV)/bin/python benchmarks/lifecycle.py
	$(DEV)/bin/python benchmarks/imports.py
	$(DEV)/bin/python benchmarks/unpack.py

clean:
	rm -rf $(USE) build dist src/kokon/_programs

$(USE)/installed: $(PACKAGE)
	$(PYTHON) -m venv $(USE)
	$(USE)/bin/python $(PIP_INSTALL) .
	@touch $@

$(DEV)/installed: pyproject.toml hatch_build.py
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP_INSTALL) -e '.[test,check]'
	@touch $@

$(DEV)/clients: $(DEV)/installed
	$(DEV)/bin/python $(PIP_INSTALL) -e '.[clients]'
	@touch $@

$(PROGRAMS): $(C_SOURCES) tools/compile.py | $(DEV)/installed
	$(DEV)/bin/python tools/compile.py
