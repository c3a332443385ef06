#!/usr/bin/env bash
# Runs every GPU path of this project and prints one table: which ran, which failed, how fast.
#
#   benchmarks/gpu_check.sh [OUT_FOLDER]
#
# Needs a CUDA build of torch and the extra `gpu` (faiss-gpu). Without a GPU it says so and exits
# with status 3, so that nobody mistakes a run on the CPU for one on a GPU. PYTHON chooses the
# interpreter (default: python3).
set -uo pipefail
cd "$(dirname "$0")/.."
out="${1:-runs/gpu}"
python="${PYTHON:-python3}"
mkdir -p "$out"
export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}" TOKENIZERS_PARALLELISM=false

"$python" - <<'PY' || exit 3
import sys
import torch
if not torch.cuda.is_available():
    sys.exit("gpu_check: expected a CUDA device, got none (torch %s); nothing was run" % torch.__version__)
import faiss
print("torch", torch.__version__, "|", torch.cuda.get_device_name(), "|",
      round(torch.cuda.get_device_properties(0).total_memory / 2**30), "GiB | faiss", faiss.__version__,
      "sees", faiss.get_num_gpus(), "GPUs")
PY

names=() states=() seconds=()
step() { # step NAME COMMAND...: runs it into a log, notes whether it worked and how long it took
    local name="$1" start=$SECONDS
    shift
    if "$@" >"$out/$name.txt" 2>"$out/$name.log"; then states+=(ok); else states+=("FAILED ($?)"); fi
    names+=("$name")
    seconds+=($((SECONDS - start)))
    echo "$name: ${states[-1]}, ${seconds[-1]} s"
}

# the models' own tests, on the device that they choose by themselves
step tests-rankers "$python" -m pytest -q tests/rankers
step tests-retrievers "$python" -m pytest -q tests/retrievers
# one engine with every model, end to end: fine-tuned, fused, saved, loaded, measured
step movielens "$python" benchmarks/movielens.py configs/movielens.yaml --out "$out/movielens"
# ratios against naive loops, CrossEncoder.predict, exact search; growth curves; requests; training
step gpt "$python" benchmarks/speed/gpt.py --out "$out"
step bert "$python" benchmarks/speed/bert.py --out "$out"
step retrieval "$python" benchmarks/speed/retrieval.py --growth 10000 100000 1000000 --out "$out"
step growth "$python" benchmarks/speed/growth.py --only candidates history --out "$out"
step serving "$python" benchmarks/speed/serving.py --out "$out"
step training "$python" benchmarks/speed/training.py --out "$out"

echo
printf '%-18s %-14s %8s\n' step state seconds
failed=0
for i in "${!names[@]}"; do
    printf '%-18s %-14s %8s\n' "${names[$i]}" "${states[$i]}" "${seconds[$i]}"
    [[ "${states[$i]}" == ok ]] || failed=1
done
for name in gpt bert retrieval serving training; do
    echo
    echo "== $name"
    cat "$out/$name.txt" 2>/dev/null
done
exit $failed
