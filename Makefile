# Every target does its own set-up; a second run finds it done.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Shared libraries that Blender's Python module and the head renderer load (Debian, Ubuntu).
SYSTEM_PACKAGES := libx11-6 libxi6 libxxf86vm1 libxfixes3 libxrender1 libxkbcommon0 libsm6 libgl1 \
	libgomp1 libegl1 libgl1-mesa-dri

# Threads that spin while they wait slow everything down as soon as another program computes.
export OMP_WAIT_POLICY := passive

.PHONY: demo test parity soak lint setup system clean

demo: $(READY)
	$(BIN)/python demo/make_demo.py --out out

test: $(READY)
	$(BIN)/python -m pytest -m "not parity and not soak" tests

parity: $(READY)
	$(BIN)/python -m pytest -m parity tests/engine

soak: $(READY)
	$(BIN)/python -m pytest -m soak tests/server

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

setup: $(READY)

$(READY): pyproject.toml constraints.txt | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[server,blender,train,dev]'
	touch $@

# Only where apt is there, we may use it, and something is missing.
system:
	@missing=""; \
	if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then \
	  for name in $(SYSTEM_PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$name"; \
	  done; \
	fi; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing system libraries:$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	elif [ -n "$$missing" ]; then \
	  echo "These system libraries may be missing; if the next step fails, install them: sudo apt-get install$$missing"; \
	fi

clean:
	rm -rf out build dist *.egg-info
