# The front door. Every target does its own set-up on a fresh Debian 12 machine.
BUILD ?= build
PREFIX ?= /usr/local
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
CMAKE_FLAGS ?=
MAKEFLAGS += --no-print-directory

.PHONY: all demo demo-1 test test-long test-sanitize test-thread fuzz bench install clean docs

all: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS) --target fsmoe_command

$(BUILD)/CMakeCache.txt: scripts/setup
	@scripts/setup
	@cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_FLAGS) > /dev/null \
	  || { rm -f $@; exit 1; } # half a cache would pass for a whole one next time

# Trains the example model on 4 ranks (2 nodes x 2), about three minutes on 2 cores.
demo: all
	@scripts/mpirun 4 $(BUILD)/fsmoe train examples/austen.yaml

# The same run on one process.
demo-1: all
	@$(BUILD)/fsmoe train examples/austen.yaml --set run.dir=runs/austen-1 --set parallel.nodes=1 \
	  --set parallel.ranks_per_node=1 --set parallel.ep_size=1 --set parallel.esp_size=1 --set parallel.mp_size=1

test: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS) --target all benchmarks # so that a benchmark which no longer compiles is noticed
	@cd $(BUILD) && ctest --output-on-failure

# `test`, all of it once more under AddressSanitizer and UBSan, threads under ThreadSanitizer, and the promises of the demo: some 20 minutes.
test-long: test test-sanitize test-thread
	@cd $(BUILD) && FSMOE_TEST_LONG=1 ctest --output-on-failure -R 'schedule_matrix|layer_combinations|lanes|issue_steps|comm_blocks|model_io|checkpoint_damage|signals'
	@tests/faults/run . $(BUILD)/fsmoe $(BUILD)/tests 1
	@tests/kill_training.sh . $(BUILD)/fsmoe 400 1
	@tests/kill_training.sh . $(BUILD)/fsmoe 100 4
	@scripts/check-demo

test-sanitize:
	@scripts/setup
	@cmake -S . -B build-sanitize -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFSMOE_SANITIZE=address,undefined > /dev/null
	@cmake --build build-sanitize -j $(JOBS)
	@cd build-sanitize && ctest --output-on-failure -LE install

# What several threads share under ThreadSanitizer: the executor and its issue driver, steps of four ranks in one process by either
# driver, what those ranks count, and models side by side.
THREAD_TESTS = test_exec test_exec_issue test_device test_thread_ranks test_side_by_side test_lanes test_issue_steps test_counts
empty :=
space := $(empty) $(empty)

test-thread:
	@scripts/setup
	@cmake -S . -B build-thread -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFSMOE_SANITIZE=thread > /dev/null
	@cmake --build build-thread -j $(JOBS) --target $(THREAD_TESTS)
	@cd build-thread && ctest --output-on-failure -R '^($(subst $(space),|,$(THREAD_TESTS)))$$'

# Fuzzers of every parser, one after another; FUZZ_SECONDS and FUZZ_RUNS end each, FUZZERS="plan cluster" are only those.
fuzz:
	@scripts/setup clang libclang-rt-14-dev libomp-dev
	@cmake -S . -B build-fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="-O1 -g -Wno-pass-failed" \
	  -DFSMOE_MPI=OFF -DFSMOE_SANITIZE=fuzzer-no-link,address,undefined > /dev/null
	@cmake --build build-fuzz -j $(JOBS) --target fuzzers
	@tests/fuzz/run build-fuzz $(FUZZERS)

bench: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS) --target benchmarks
	@$(BUILD)/bench/bench_step
	@$(BUILD)/bench/bench_ops
	@$(BUILD)/bench/bench_gate
	@if [ -x build/peers-venv/bin/python ]; then bench/peers/gate; \
	  else echo "against PyTorch: bench/peers/setup once, then bench/peers/gate"; fi
	@$(BUILD)/bench/bench_plan

install: all
	@cmake -S . -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) > /dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target fsmoe_command
	@cmake --install $(BUILD)

clean:
	@rm -rf $(BUILD) build-sanitize build-thread build-fuzz
