#!/bin/bash
# Installs what is missing, builds plainly and with ASan and UBSan, with GCC and with Clang, and runs all tests.
# The time each part may take on two cores stands in docs/testing.md.
set -euo pipefail
cd "$(dirname "$0")/.."

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
configure build/fuzz -DCMAKE_C_COMPILER=clang -DESTUARY_FUZZ=ON
ninja -C build/fuzz --quiet

part "style: clang-tidy"
configure build/tidy -DCMAKE_C_COMPILER=clang
git ls-files '*.c' ':!tests/fuzz' | xargs -P "$(nproc)" -n 4 clang-tidy -p build/tidy --quiet 2>/dev/null

part "tests: fuzzers, briefly"
ctest --test-dir build/fuzz -L fuzz --output-on-failure --quiet -j "$(nproc)"

part "tests: sanitized"
ctest --test-dir build/sanitized --output-on-failure -j "$(nproc)" -LE 'style|container|bench'

part "tests: plain"
ctest --test-dir build/plain --output-on-failure -j "$(nproc)"

part "done"
