#!/bin/sh
# test_install.sh SOURCE BUILD CMAKE CC: installs a finished build into a fresh prefix and uses it from outside, by
# pkg-config and by find_package; checks what the library exports, and the installed command.
set -eu
source=$1 build=$2 cmake=$3 cc=$4
work=$(mktemp -d /tmp/fsmoe-install-XXXXXX)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
# only the installed vocabulary may be found, not the one in the sources
export FSMOE_DATA="$prefix/share/fsmoe"

fail() {
  echo "test_install: $*" >&2
  exit 1
}

# the ids that GPT-2's own tokenizer gives
expect_output() {
  cat > "$work/expected" << END
ids 1026 318 257 3872 26208 10810
text It is a truth universally acknowledged
hidden: 320
END
  diff "$work/expected" "$1" || fail "$2 printed something else"
}

"$cmake" --install "$build" --prefix "$prefix" > "$work/log" || fail "cmake --install failed"
library=$(find "$prefix" -name libfsmoe.so)
[ -n "$library" ] || fail "no libfsmoe.so below the prefix"
libdir=$(dirname "$library")

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }')
[ -n "$exported" ] || fail "libfsmoe exports nothing"
for symbol in $(printf '%s\n' "$exported" | grep -v '^fsmoe_' || true); do
  grep -rqw "$symbol" "$prefix/include/fsmoe-extend" || fail "libfsmoe exports what no installed header declares: $symbol"
done

pc() {
  PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config "$@" fsmoe
}
# shellcheck disable=SC2046
"$cc" -std=c17 -Wall -Wextra -Werror "$source/tests/consumer/consumer.c" -o "$work/consumer" \
  $(pc --cflags) $(pc --libs) "-Wl,-rpath,$libdir" || fail "the consumer does not compile with pkg-config's flags"
(cd / && "$work/consumer") > "$work/by_pkg_config" || fail "the consumer built by pkg-config fails"
expect_output "$work/by_pkg_config" "the consumer built by pkg-config"

"$cmake" -S "$source/tests/consumer" -B "$work/consumer-build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
  > "$work/log" 2>&1 && "$cmake" --build "$work/consumer-build" >> "$work/log" 2>&1 || {
  cat "$work/log" >&2
  fail "the consumer does not build with find_package"
}
(cd / && "$work/consumer-build/consumer") > "$work/by_cmake" || fail "the consumer built by find_package fails"
expect_output "$work/by_cmake" "the consumer built by find_package"

# kinds of a program's own
extend=$source/examples/extend
# shellcheck disable=SC2046
"$cc" -std=c17 -Wall -Wextra -Werror "-I$(pc --variable=extend_includedir)" $(pc --cflags) "$extend"/*.c -o "$work/extended" \
  $(pc --libs) -lm "-Wl,-rpath,$libdir" || fail "examples/extend does not compile against the installed headers"
for file in "$extend"/*.c; do
  [ "$(wc -l < "$file")" -lt 80 ] || fail "$file has 80 lines or more"
done
"$work/extended" "$extend/layer.yaml" "$source/tests/golden/gates/gshard_unused_experts/in.safetensors" "$work/out.safetensors" \
  > "$work/extended.out" || fail "examples/extend fails"
if ldd "$library" | grep -q libmpi && command -v "${MPIRUN:-mpirun}" > /dev/null; then
  { cat "$extend/layer.yaml" && printf 'nodes: 2\nranks_per_node: 2\nep_size: 4\n'; } > "$work/ranks.yaml"
  "$source/scripts/mpirun" 4 "$work/extended" "$work/ranks.yaml" "$source/tests/golden/gates/gshard_unused_experts/in.safetensors" \
    "$work/ranks.safetensors" > "$work/ranks.out" || fail "examples/extend fails on four ranks"
  grep -q "^sent: [1-9]" "$work/ranks.out" || fail "the all-to-all of examples/extend is not called"
fi
grep -q "^watch: [1-9][0-9]* calls, 0 numbers are not finite" "$work/extended.out" && [ -s "$work/out.safetensors" ] ||
  fail "examples/extend: $(cat "$work/extended.out")"

version=$(cd / && "$prefix/bin/fsmoe" --version) || fail "the installed fsmoe --version fails"
case $version in
*[0-9].[0-9]*) ;;
*) fail "fsmoe --version printed '$version'" ;;
esac
(cd / && "$prefix/bin/fsmoe" config --dump) | grep -q '^model:' ||
  fail "the installed fsmoe config --dump prints no model"
