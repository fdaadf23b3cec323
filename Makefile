# SPDX-License-Identifier: Apache-2.0
# The short commands. Each installs what the machine lacks (tools/setup.sh), configures a CMake preset and builds it;
# `cmake --workflow` and the presets of CMakePresets.json do the same without it.
.DEFAULT_GOAL := help
MODEL  ?= smollm2
PROMPT ?= Gravity is
# CUDA code is built if a compiler and a device are there; CUDA=ON or CUDA=OFF decides otherwise.
CUDA   ?= $(shell test -e /dev/nvidiactl && command -v nvcc >/dev/null && echo ON || echo OFF)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
ONEBEAT := build/release/bin/onebeat
SOURCES := $(shell git ls-files '*.h' '*.c' '*.cpp' '*.cu' '*.cuh' 2>/dev/null)

.PHONY: help run build test python bench fuzz format format-check lint clean setup-% configure-%

help: ## Lists these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup-%:
	@tools/setup.sh $*

configure-%:
	@test -f build/$*/build.ninja || cmake --preset $*

build: setup-build ## Builds the release binary, build/release/bin/onebeat
	@test -f build/release/build.ninja || cmake --preset release -DONEBEAT_TESTS=OFF -DONEBEAT_CUDA=$(CUDA)
	@cmake --build --preset release

run: build ## Fetches a small model, generates text with it and draws a decode plan
	@$(ONEBEAT) pull $(MODEL)
	@$(ONEBEAT) generate -m $(MODEL) -p "$(PROMPT)" -n 64
	@$(ONEBEAT) plan --lens 131072,512x31 --heads 32/8 --head-dim 128 --workers 132 --format svg -o build/plan.svg
	@echo "A picture of a decode plan: $(CURDIR)/build/plan.svg"

test: setup-test configure-dev ## Builds and runs all tests
	@cmake --build --preset dev
	@ctest --preset dev

python: setup-test ## Installs the Python package in build/venv and runs its tests
	@rm -rf build/venv && python3 -m venv build/venv
	@build/venv/bin/pip install --disable-pip-version-check -q '.[test]'
	@build/venv/bin/pytest

bench: build ## Measures, against measured limits
	@for what in prepare attention step; do $(ONEBEAT) bench $$what || exit 1; done

FUZZ_SECONDS ?= 60
fuzz: setup-develop configure-fuzz ## Runs every fuzz target for FUZZ_SECONDS (60)
	@cmake --build --preset fuzz --target fuzzers
	@tools/fuzz.sh build/fuzz/bin $(FUZZ_SECONDS)

format: setup-develop ## Formats the C++ and CUDA sources
	@clang-format-14 -i $(SOURCES)

format-check: setup-develop ## Says which sources `make format` would change
	@clang-format-14 --dry-run --Werror $(SOURCES)

lint: setup-develop configure-clang ## Runs clang-tidy and the layout checks
	@python3 tools/check_layers.py
	@cmake --build --preset clang
	@tools/lint.sh build/clang

clean: ## Removes what was built (not the models)
	rm -rf build
