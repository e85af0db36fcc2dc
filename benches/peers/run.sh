#!/bin/sh
# Times htscodecs, FSE, huff0 and CompressAI's rANS on our messages; see README.md.
set -eu
if [ $# -lt 4 ]; then
    echo "usage: $0 HTSCODECS FINITE-STATE-ENTROPY COMPRESSAI BUILD-FOLDER [CODEC-OPTIONS..]" >&2
    exit 2
fi
hts=$(realpath "$1"); fse=$(realpath "$2"); compressai=$(realpath "$3")
mkdir -p "$4"; build=$(realpath "$4")
shift 4
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
case "$build/" in "$root"/*) echo "the build folder lies within the repository" >&2; exit 2 ;; esac
CC=${CC:-cc}; CXX=${CXX:-c++}; PYTHON=${PYTHON:-python3}; ROUNDS=${ROUNDS:-11}

# What htscodecs' configure step would find on x86-64; without the two lines about cpuid its
# vector paths are compiled out and scalar code is timed under their names.
: > "$build/config.h"
for name in DECL___CPUID_COUNT DECL___GET_CPUID_MAX AVX512 AVX2 SSE4_1 SSSE3 POPCNT; do
    echo "#define HAVE_$name 1" >> "$build/config.h"
done
compile() { # name, source, flags..
    name=$1; source=$2; shift 2
    $CC -O3 -std=gnu11 -w -I"$build" -I"$hts/htscodecs" -I"$fse/lib" "$@" \
        -c "$source" -o "$build/$name.o"
}
lib=$hts/htscodecs
for name in rANS_static4x16pr rANS_static32x16pr rANS_static32x16pr_neon pack rle utils; do
    compile "$name" "$lib/$name.c"
done
compile rANS_static32x16pr_sse4 "$lib/rANS_static32x16pr_sse4.c" -msse4.1 -mssse3 -mpopcnt
compile rANS_static32x16pr_avx2 "$lib/rANS_static32x16pr_avx2.c" -mavx2 -mpopcnt
compile rANS_static32x16pr_avx512 "$lib/rANS_static32x16pr_avx512.c" -mavx512f -mpopcnt
for name in debug hist entropy_common fse_compress fse_decompress huf_compress huf_decompress; do
    compile "$name" "$fse/lib/$name.c"
done
$CC -O3 -std=gnu11 -I"$build" -I"$hts/htscodecs" -I"$fse/lib" "$here/peers.c" "$build"/*.o \
    -lm -lpthread -o "$build/peers"

suffix=$($PYTHON -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
include=$($PYTHON -c 'import sysconfig, pybind11
print("-I" + sysconfig.get_paths()["include"], "-I" + pybind11.get_include())')
# shellcheck disable=SC2086 # two options
$CXX -O3 -std=c++17 -shared -fPIC -w $include -I"$compressai/third_party/ryg_rans" \
    "$compressai/compressai/cpp_exts/rans/rans_interface.cpp" -o "$build/ans$suffix"

rm -rf "$build/messages" "$build/own.jsonl"
cd "$root"
cargo run --release --quiet -p split-benches --bin codec -- --data iid --own --rounds "$ROUNDS" \
    --save "$build/messages" --record "$build/own.jsonl" "$@"
commit() { git -C "$1" rev-parse --short=12 HEAD; }
PYTHONPATH=$build $PYTHON "$here/collect.py" "$build/peers" "$build/messages" "$build/own.jsonl" \
    "${OUT:-$root/benches/records/codec.jsonl}" "$ROUNDS" \
    "htscodecs=$(commit "$hts")" "FiniteStateEntropy=$(commit "$fse")" \
    "CompressAI=$(commit "$compressai")"
