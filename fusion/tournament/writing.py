"""A result's files: everything as JSON, the table, the recommended fusion as YAML, the report."""

from __future__ import annotations

import io
import json
import logging
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion.atomic import write_text
from fusion.errors import DependencyError
from fusion.tournament.outcome import TournamentResult

__all__ = ["recommended_yaml", "write_result"]

log = logging.getLogger(__name__)


def write_result(result: TournamentResult, out: Path) -> None:
    """Write ``tournament.json``, ``tournament.md``, ``recommended.yaml`` and ``report.html``.

    Without matplotlib or jinja2 the report is left out, with a warning that says so.
    """
    text = json.dumps(result.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(out / "tournament.json", text)
    write_text(out / "tournament.md", result.markdown())
    write_text(out / "recommended.yaml", recommended_yaml(result))
    from fusion.tournament.report import render_report

    try:
        html = render_report(result)
    except DependencyError as error:
        log.warning("no report.html: %s", error)
        return
    write_text(out / "report.html", html)


def recommended_yaml(result: TournamentResult) -> str:
    """An overlay for ``engine.swap``: the recommended fusion under ``fusion:``, and why."""
    from ruamel.yaml import YAML

    chosen = result.recommendation
    why = textwrap.wrap(f"{chosen.name}: {chosen.reason}.", width=96)
    body: Mapping[str, Any] = {"fusion": json.loads(json.dumps(chosen.fusion))}
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(body, stream)
    return "\n".join(f"# {line}" for line in why) + "\n" + stream.getvalue()
