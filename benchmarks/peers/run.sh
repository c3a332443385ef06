#!/usr/bin/env bash
# One peer on one exported split, in an environment of its own, within a time limit.
#
#   benchmarks/peers/run.sh PEER SPLIT [OPTION ...]
#
#   PEER   implicit_als | lenskit_peers | rectools_sasrec | rectools_bert4rec
#   SPLIT  a folder that export.py wrote; runs go to SPLIT/runs
#   OPTION of the peer's script, as --epochs 100 --max-len 200
#
# PEERS_ENV    where environments are made, once each (runs/peers-env)
# PEERS_LIMIT  time limit, as 2h (12h); the RecTools peers go on from their last epoch when called
#              again, the others are done in minutes and start anew
# PYTHON       interpreter for the environments (python3.11)
#
# Not here: RecBole 1.2.1. With what its metadata resolves to it does not import (ray 2.6.3 needs
# pkg_resources, which setuptools 81 dropped). With numpy<2, pandas<3 and setuptools<81 it does, but
# it reads only its own files and cuts its own splits, so it needs an adapter of its own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
peer=${1:?which peer}
split=${2:?which split}
shift 2
folder=${PEERS_ENV:-runs/peers-env}

case $peer in
  implicit_als) environment=implicit ;;
  lenskit_peers) environment=lenskit ;;
  rectools_sasrec | rectools_bert4rec) environment=rectools ;;
  *) echo "run.sh: no peer $peer: implicit_als, lenskit_peers, rectools_sasrec, rectools_bert4rec" >&2
     exit 2 ;;
esac
[[ -f $split/split.json ]] || { echo "run.sh: $split: no split, write one with export.py" >&2; exit 2; }

own=$folder/$environment
if [[ ! -f $own/.ready ]]; then
  "${PYTHON:-python3.11}" -m venv "$own"
  "$own/bin/python" -m pip install --quiet -r "$here/environments/$environment.txt"
  touch "$own/.ready"
fi

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
exec timeout "${PEERS_LIMIT:-12h}" "$own/bin/python" "$here/$peer.py" "$split" --out "$split/runs" "$@"
