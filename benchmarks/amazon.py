"""Every model and every fusion mode on Amazon reviews, by the project's protocol.

    python benchmarks/amazon.py configs/quick.yaml --version 2018 --category Gift_Cards
    python benchmarks/amazon.py configs/quick.yaml --version parquet --data FOLDER

Without ``--data`` the publisher's files are downloaded. Writes ``SPLIT.json``, ``SPLIT.md`` and
``SPLIT.png`` into ``--out``; what is there from an earlier run of the same configuration and data
is used again.
"""

from __future__ import annotations

from common import arguments, main

if __name__ == "__main__":
    parser = arguments(__doc__.splitlines()[0], "runs/amazon")
    parser.add_argument("--version", choices=["2014", "2018", "2023", "parquet"], default="2023")
    parser.add_argument("--category", default="All_Beauty", help="as the publisher spells it")
    parser.add_argument("--k-core", type=int, default=5, help="0 = none")
    args = parser.parse_args()
    k_core = args.k_core or None
    if args.version == "parquet":
        if args.data is None:
            parser.error("--version parquet needs --data FOLDER")
        folder = args.data.resolve()
        source = {
            "source": "tables",
            "interactions": str(folder / "interactions.parquet"),
            "items": str(folder / "items.parquet"),
            "k_core": k_core,
        }
    else:
        source = {
            "source": "amazon",
            "version": int(args.version),
            "category": args.category,
            "k_core": k_core,
        }
        if args.data:
            source["path"] = str(args.data.resolve())
    main(parser, source, args)
