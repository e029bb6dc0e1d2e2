# Tests start many processes: keep their compiled modules also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

# Every target makes .venv first where it is missing. PYTHON names the interpreter to make it with.
PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs bench chaos

demo: .venv/demo
	.venv/bin/recsys demo

# Three processes on two cores: each waits a fifth of its time for the servers that it tests. Threads of OpenMP would
# wait for each other.
test: .venv/test
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 3 --no-loadscope-reorder

check: test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright
	.venv/bin/lint-imports

docs: .venv/test
	.venv/bin/python -m tests.docs.generated_pages

bench: .venv/test
	.venv/bin/python -m tests.benchmarks

# Three minutes, with a seed that is printed; CHAOS="600 7" runs for ten minutes with the seed 7.
chaos: .venv/test
	.venv/bin/python -m tests.benchmarks.chaos $(CHAOS)

.venv/demo: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[demo]'
	touch $@

.venv/test: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[demo,test]'
	touch $@
