#!/bin/bash
# Installs what is missing, builds with GCC, with GCC, ASan and UBSan, and with Clang and its fuzzers, and runs all tests: the
# test command of the README. The time that each part may take on two cores stands in docs/testing.md. Needs root: containers and
# network namespaces are among the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=$((2 * $(nproc))) # of tests, which wait more than they compute

part() { printf '\n== %s (at %d s)\n' "$1" "$SECONDS"; }

part "packages"
tests/install_packages build demo test container

part "style: clang-format"
git ls-files -z '*.c' '*.h' | xargs -0 clang-format --dry-run --Werror

configure() { cmake -S . -B "$1" -G Ninja "${@:2}" >/dev/null; }

part "build: GCC"
configure build/plain -DCMAKE_C_COMPILER=gcc
ninja -C build/plain --quiet

part "build: GCC with ASan and UBSan"
configure build/sanitized -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=Debug -DESTUARY_SANITIZE=address,undefined
ninja -C build/sanitized --quiet

part "build: Clang with fuzzers"
configure build/fuzz -DCMAKE_C_COMPILER=clang -DESTUARY_FUZZ=ON -DESTUARY_FUZZ_SECONDS=4
ninja -C build/fuzz --quiet

part "style: clang-tidy"
git ls-files -z '*.c' | xargs -0 -P "$(nproc)" -n 4 clang-tidy -p build/fuzz --quiet 2>/dev/null

part "tests: fuzzers, briefly"
ctest --test-dir build/fuzz -L fuzz --output-on-failure --quiet -j "$(nproc)"

part "tests: sanitized"
ctest --test-dir build/sanitized --output-on-failure -j "$jobs" -LE 'style|container|bench'

part "tests: plain"
ctest --test-dir build/plain --output-on-failure -j "$jobs"
