# Two commands matter: `make lab` to learn, `make test` to know that all of it is true.
# Every target builds .venv on first use. Another Python: make lab PYTHON=python3.12

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
export PYTHONUNBUFFERED := 1

.PHONY: help lab start progress test test-all site sweep notebooks figs exercises exercises-report class numbers bench clean

help:
	@echo "make lab        install on first use, then open the course in JupyterLab (ARGS=\"--port 8899\")"
	@echo "make start L=3  fresh copies of lesson 3 in work/;  make progress: which of your exercises are solved"
	@echo "make test       run every notebook and compare it with its stored outputs; the package's tests"
	@echo "make test-all   what make test leaves out: the browser, one knob at a time (needs a Chromium)"
	@echo "make site       the notebooks and documents as a site in build/site (needs npm)"
	@echo "make sweep      search for good settings, in two processes (ARGS=\"--trials 100 --model gated\")"
	@echo "make notebooks  run all notebooks in place and normalise them (for authors)"
	@echo "make exercises  make notebooks/exercises from notebooks/solutions (for authors)"
	@echo "make class      an nbgrader course from the masters, for teachers (ARGS=~/class)"
	@echo "make figs       write the figures that the notebooks store to figs/ (for authors)"
	@echo "make numbers    the lectures' numbers: the lecture's list, full steps (an hour or two)"
	@echo "make bench      the speed table (about 20 minutes)"

# Quiet when all is installed; the check itself takes a few milliseconds.
install-%:
	@command -v $(PYTHON) >/dev/null || { echo "✗ no $(PYTHON) found: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) tools/install.py $*

# The server sees the whole project (the notebooks show ../figs) and opens on the welcome page in work/, where
# the learner's own copies are. It stays on this machine, with its token. JupyterLab refuses to run as root
# without a flag: only root gets it. Its terminals and kernels find the environment's commands on the PATH.
lab: install-course
	@$(BIN)/python -m zth_helpers doctor
	@$(BIN)/python -m zth_helpers names
	@$(BIN)/python -m zth_helpers copies
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/jupyter lab --config=tools/lab_config.py --ip=127.0.0.1 \
		$$([ "$$(id -u)" = 0 ] && echo --allow-root) $(ARGS)

start: install-course
	@$(BIN)/python -m zth_helpers start "$(L)"

progress: install-course
	@$(BIN)/python -m zth_helpers progress $(L)

test: install-test
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy
	@exec $(BIN)/python -m pytest --nbval --mpl -n 2 -q -m "not browser and not sweep" $(ARGS)

test-all: install-test
	@exec $(BIN)/python -m pytest -n 2 -q -m "browser or sweep" tests $(ARGS)

site: install-site
	@$(BIN)/python -m tools.site

sweep: install-scale
	@exec $(BIN)/python -m experiments.sweep $(ARGS)

notebooks: install-test
	@$(BIN)/python -m tools.notebooks $(ARGS)

figs: install-test
	@$(BIN)/python -m tools.notebooks --figs

exercises: install-test
	@$(BIN)/python -m tools.exercises

exercises-report: install-test
	@$(BIN)/python -m tests.exercises.report

class: install-class
	@$(BIN)/python -m tools.class_course $(ARGS)

numbers: install-test
	@$(BIN)/python -m benchmarks.lecture_numbers.reproduce $(ARGS)

bench: install-bench
	@$(BIN)/python -m benchmarks.speed.bench $(ARGS)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
