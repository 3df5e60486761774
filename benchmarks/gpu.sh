#!/usr/bin/env bash
# What a GPU shows, in one call and without a network: that it answers as the CPU does, then the benchmark's table.
#   bash benchmarks/gpu.sh OUT [cuda|cpu] [OPTION of benchmarks.score ...]
# OUT gets machine.txt, tests.txt, table.md, history.jsonl and, second by second, utilisation.csv. With `cpu` all of it but
# the GPU itself is tried where there is none.
set -euo pipefail
out=$(mkdir -p "${1:?OUT, then cuda or cpu}" && cd "$1" && pwd)
device=${2:-cuda}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$PWD

{ nvidia-smi || echo "no GPU"; lscpu | head -20; free -g; } >"$out/machine.txt" 2>&1
"$python" -m pytest -n0 -q -p no:cacheprovider tests/models/test_predictor.py -rs >"$out/tests.txt" 2>&1 || cat "$out/tests.txt"

if [ "$device" = cuda ]; then
    nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv -l 1 >"$out/utilisation.csv" &
    trap 'kill %1' EXIT
fi
"$python" -m benchmarks.score --device "$device" --history "$out/history.jsonl" "${@:3}" | tee "$out/table.md"
