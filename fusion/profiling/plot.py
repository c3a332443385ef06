"""A picture of an `EngineProfile`: a bar a stage, as long as its median, a line up to its p95."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from fusion.errors import ArtifactError, DataError, DependencyError, explain
from fusion.profiling.measure import EngineProfile

__all__ = ["checked_picture", "save_profile_plot"]

#: Okabe and Ito (2008), "Color universal design": models, and the engine itself
_MODEL, _OWN, _FAINT, _INK = "#0072b2", "#5b6770", "#d9dde0", "#22272b"
_SUFFIXES = (".png", ".svg")


def checked_picture(path: str | Path) -> Path:
    """``path``, if it ends as a picture does.

    Raises:
        DataError: it does not.
    """
    file = Path(path)
    if file.suffix not in _SUFFIXES:
        expected = f"a file ending in {' or '.join(_SUFFIXES)}"
        raise DataError(explain("profile, plot", expected, file.name))
    return file


def save_profile_plot(profile: EngineProfile, path: str | Path) -> Path:
    """Draw ``profile`` into ``path`` (``.png`` or ``.svg``).

    Raises:
        DataError: another suffix.
        DependencyError: matplotlib is missing.
        ArtifactError: the file cannot be written.
    """
    file = checked_picture(path)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            explain("profile, plot", "matplotlib", "none installed", "pip install matplotlib")
        ) from error
    stages = [stage for stage in profile.stages if not stage.total.inside]
    figure = Figure(figsize=(7.2, 1.4 + 0.36 * len(stages)), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for at, stage in enumerate(stages):
        p50, p95, _ = stage.ms
        color = _MODEL if stage.total.model else _OWN
        axes.barh(at, p50, height=0.62, color=color, zorder=2)
        axes.plot([p50, p95], [at, at], color=color, linewidth=1.6, zorder=2)
        axes.plot(p95, at, "|", color=color, markersize=9, zorder=2)
        peak = "" if stage.of_peak is None else f", {stage.of_peak:.0%} of peak"
        axes.annotate(
            f"{p50:.2f} ms, {stage.share:.0%}{peak}",
            (max(p50, p95), at),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=_INK,
        )
    axes.set_yticks(range(len(stages)), [stage.total.label for stage in stages])
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(length=0, colors=_INK, labelsize=9)
    axes.set_xlabel("milliseconds: median (bar) and 95th percentile (line)", fontsize=9)
    axes.set_title(
        f"{profile.requests} requests, p50 {profile.ms[0]:.1f} ms, p95 {profile.ms[1]:.1f} ms",
        loc="left",
        fontsize=10.5,
        fontweight="bold",
        color=_INK,
    )
    aside = file.with_name(f".{file.stem}.{secrets.token_hex(4)}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(aside, format=file.suffix[1:])
        aside.replace(file)
    except OSError as error:
        got = str(error)
        raise ArtifactError(explain(f"profile, {file}", "a writable file", got)) from error
    finally:
        with suppress(OSError):  # it has its name already, or never came to be
            aside.unlink()
    return file
