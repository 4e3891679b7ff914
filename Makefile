# Two commands do all the set-up: `make demo` (try it) and `make test` (check it). Both work in ./.venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What Qt and OpenGL need to open a window on a virtual screen.
DEBIAN_PACKAGES := xvfb xauth libgl1 libegl1 libgl1-mesa-dri libglib2.0-0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 \
	libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-shm0 libxcb-xinerama0 libxcb-xkb1 \
	libdbus-1-3 libfontconfig1
# Two files of tests at a time, each with one core; pytest-xvfb gives each process a screen of its own.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# A worker that dies fails the run: pytest-xdist 3.8 waits for ever for the files of one that it has replaced (pytest-xdist#1327).
FILES_APART := -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
XVFB := xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX"

.PHONY: help demo quick test test-slow coverage check fuzz race crash docs benchmark benchmark-compare screen screenshots pictures clean

help:
	@echo "make demo       install into ./.venv and run the whole loop on a sample"
	@echo "make quick      check, and the unit tests that take no more than a moment each"
	@echo "make test       install what tests need, then check and test"
	@echo "make test-slow  the long proofs"
	@echo "make coverage   what no test reaches in retuning, feedback and projects"
	@echo "make pictures   the documentation's pictures, made anew from the real window, in docs/pictures"
	@echo "make docs       the documentation's site, in build/docs"
	@echo "make screenshots  pictures of every page and dock, in both themes and two sizes, in build/screenshots"
	@echo "make fuzz       20,000 files changed at random, every one read or refused in a sentence"
	@echo "make crash      300 kills while files are written, and 300 rounds of several holders of one project"
	@echo "make race       five minutes of random use of the window, with memory (RACE_SECONDS, RACE_SEED)"
	@echo "make benchmark  what retuning reaches, and speed, as one page in docs/benchmarks.md (hours; PARTS=... for some of it)"
	@echo "make clean      remove ./.venv"

# A stamp for each set of packages, made again when pyproject.toml changes.
$(VENV)/installed-demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into ./$(VENV): some 5 GB on Linux, most of it torch, which takes some minutes without a word."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[pyside6]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --editable '.[pyside6,test]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed-demo
	$(BIN)/python -m pip install --quiet --editable '.[pyside6,docs]'
	touch $@

demo: $(VENV)/installed-demo
	$(BIN)/napari-cam-feedback demo

# The virtual screen: installed where apt is there, something is missing, and we may.
screen:
	@if command -v apt-get >/dev/null && ! dpkg -s $(DEBIAN_PACKAGES) >/dev/null 2>&1; then \
		sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
		$$sudo apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(DEBIAN_PACKAGES); \
	fi
	@command -v xvfb-run >/dev/null || { echo "xvfb-run is missing; install Xvfb with your package manager."; exit 1; }

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-cam-feedback

quick: $(VENV)/installed-test check
	$(PYTEST) -n 2 -m "unit and not lengthy"

test: $(VENV)/installed-test screen check
	$(PYTEST) $(FILES_APART) -m "not slow"

test-slow: $(VENV)/installed-test screen
	$(PYTEST) -m slow

# Measuring makes the tests a third slower, so that it has a command of its own.
coverage: $(VENV)/installed-test screen
	$(PYTEST) $(FILES_APART) -m "not slow" --cov --cov-report=term-missing

# Commands are read from their parser, the Python reference from the sources; neither needs torch.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/docs/index.html"

screenshots: $(VENV)/installed-test screen
	xvfb-run -a -s "-screen 0 2600x1500x24 +extension GLX" $(BIN)/python docs/screenshots.py build/screenshots

# Those that the documentation shows, made of them.
pictures: screenshots
	$(BIN)/python docs/loop_picture.py build/screenshots docs/pictures

fuzz: $(VENV)/installed-test
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz

crash: $(VENV)/installed-test
	$(PYTEST) -m crash --durations=2

race: $(VENV)/installed-test screen
	NAPARI_STRICT_QT=1 $(PYTEST) -m slow tests/widgets/test_race.py

# PARTS="start index" for some of it; to see what got worse: make benchmark-compare OLD=before.md NEW=docs/benchmarks.md
benchmark: $(VENV)/installed-test screen
	$(XVFB) $(BIN)/python -m benchmarks page docs/benchmarks.md $(PARTS)

benchmark-compare: $(VENV)/installed-test
	$(BIN)/python -m benchmarks compare $(OLD) $(NEW)

clean:
	rm -rf $(VENV)
