# Each goal sets up .venv first, from PyPI and, where one is sourced, a ROS 2 installation.
# The second run finds it ready. PYTHON=... names another interpreter, ARGS=... is handed on.

PYTHONS := python3.13 python3.12 python3.11 python3
ifdef ROS_DISTRO
PYTHONS := python3
endif
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '$(SUITABLE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help setup demo test conformance lint docs mutate bench clean distclean

help:
	@echo 'make demo       simulate a drive, run the nodes on it over ROS 2, write demo_output/report.html'
	@echo 'make test       run the tests (ARGS="-k geometry" chooses)'
	@echo 'make conformance  compare with launch, tf2, cv_bridge ... of a sourced ROS or of ROS_SOURCES=FOLDER'
	@echo 'make lint       ruff, mypy'
	@echo 'make docs       build the documentation in build/docs; warnings and dead links are errors'
	@echo 'make mutate     change the code place by place and list what no test notices (ARGS=FILE)'
	@echo 'make bench      run the benchmarks'
	@echo 'make setup      only set up .venv, which all of these do by themselves'
	@echo 'make clean      remove what was built; make distclean removes .venv too'

setup:
	@if [ -z '$(PYTHON)' ]; then \
	  echo 'Python 3.11, 3.12 or 3.13 is missing: install python3 with its venv and dev packages' \
	  '(or name one: make PYTHON=/path/to/python3.12).' >&2; exit 1; fi
	@$(PYTHON) -m tools.environment

demo: setup
	@$(BIN)/sam_ad demo --out demo_output $(ARGS)

# Real nodes are watched by the clock: their tests run one after the other, by themselves, and one
# that fails is tried once more, as ROS's own CI does; the summary lists it as RERUN. What fails
# still has a last try in a process of its own, where what its file starts begins anew.
# pytest's status 5 says that ARGS chose no test of the one kind.
test: setup
	@status=0; \
	$(BIN)/pytest -q -m 'not ros' --numprocesses 2 --dist loadfile --durations=10 $(ARGS) \
	  || [ $$? -eq 5 ] || status=1; \
	$(BIN)/pytest -q -m ros --reruns 1 --durations=10 $(ARGS) || [ $$? -eq 5 ] \
	  || $(BIN)/pytest -q -m ros --last-failed $(ARGS) || status=1; \
	exit $$status

# Over the ROS wheels the tools themselves are built first, from a folder of their sources
# (ROS_SOURCES), into build/ros_stack; over a sourced installation .venv sees them.
conformance: setup
	@$(BIN)/python -m tools.conformance $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Without network. The variable silences an advertisement of mkdocs-material about MkDocs 2.
docs: setup
	@$(BIN)/python -m tools.documentation --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo 'build/docs/index.html'

mutate: setup
	@$(BIN)/python -m tools.mutate $(ARGS)

# What benchmarks share; they are no benchmarks themselves.
BENCH_PARTS := result_files event_peers
BENCHMARKS := $(filter-out $(BENCH_PARTS),$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/[a-z]*.py)))

bench: setup
	@for name in $(BENCHMARKS); do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; done

clean:
	rm -rf build install log *.egg-info demo_output .pytest_cache .mypy_cache .ruff_cache .hypothesis .numba_cache
	find sam_ad_perception tools training test benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf .venv
