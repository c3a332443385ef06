"""Peer: SASRec of RecTools, with the softmax loss that is its default.

    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/peers/rectools_sasrec.py SPLIT --out SPLIT/runs

SASRec: Kang and McAuley (2018), "Self-attentive sequential recommendation", arXiv:1808.09781. That
a softmax over many items lifts it above BERT4Rec: Klenitskiy and Vasilev (2023), "Turning dross
into gold loss", arXiv:2309.07602. Training and settings: `rectools_fit`.
"""

from __future__ import annotations

from rectools.models import SASRecModel
from rectools_fit import main

if __name__ == "__main__":
    main(SASRecModel, "rectools sasrec", {"loss": "softmax"}, __doc__)
