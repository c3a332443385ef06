"""Peer: BERT4Rec of RecTools.

    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/peers/rectools_bert4rec.py SPLIT --out SPLIT/runs

BERT4Rec: Sun et al. (2019), "BERT4Rec: sequential recommendation with bidirectional encoder
representations from transformer", arXiv:1904.06690. That it needs many epochs: Petrov and Macdonald
(2022), arXiv:2207.07483. Training and settings: `rectools_fit`.
"""

from __future__ import annotations

from rectools.models import BERT4RecModel
from rectools_fit import main

if __name__ == "__main__":
    main(BERT4RecModel, "rectools bert4rec", {"loss": "softmax", "mask_prob": 0.15}, __doc__)
