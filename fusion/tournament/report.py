"""The report as one HTML file that needs nothing else: no network, no script, pictures inside."""

from __future__ import annotations

from importlib.resources import files

from fusion.errors import DependencyError, explain
from fusion.tournament.figures import pictures
from fusion.tournament.outcome import TournamentResult, interval_text

__all__ = ["render_report"]


def render_report(result: TournamentResult) -> str:
    """Valid HTML5; every name is escaped.

    Raises:
        DependencyError: jinja2 or matplotlib is missing.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise DependencyError(
            explain("report", "jinja2", "none installed", "pip install jinja2")
        ) from error
    from fusion.tournament.writing import recommended_yaml

    source = (files("fusion.tournament") / "templates" / "report.html").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html: str = environment.from_string(source).render(
        result=result,
        yaml=recommended_yaml(result),
        pictures=pictures(result),
        rows=[row for row in result.rows if not row.error],
        slices=[
            (
                row.slice,
                row.queries,
                row.name,
                "–" if row.ndcg is None else interval_text(row.ndcg),
                "–" if row.difference is None else interval_text(row.difference, "+.4f"),
            )
            for row in result.slices
        ],
        nested=None if result.nested is None else interval_text(result.nested, "+.4f"),
        looked=[
            (name, interval_text(mean), f"{result.test.hit_rate[name]:.4f}")
            for name, mean in result.test.ndcg.items()
        ]
        if result.test is not None
        else [],
        gain=None
        if result.test is None or result.test.difference is None
        else interval_text(result.test.difference, "+.4f"),
    )
    return html + "\n"
