"""Fitting every model of an engine, resumably: what is fitted is kept and found again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from fusion._version import FORMAT_VERSION, __version__
from fusion.data.dataset import Dataset
from fusion.errors import ArtifactError, ConfigError, explain
from fusion.persistence import open_folder, save_folder
from fusion.progress import stage
from fusion.protocols import FitContext, Model, Provenance

__all__ = ["fit_models", "in_order_of_need"]

log = logging.getLogger(__name__)


def fit_models(
    models: Mapping[str, Model],
    data: Dataset,
    context: FitContext,
    *,
    again: bool = False,
    after: str = "",
    label: str = "",
) -> dict[str, str]:
    """Fit each of ``models`` on ``data`` and write down what it saw.

    Args:
        again: call `Model.refit`: the models were fitted on a part of ``data`` before.
        after: fingerprint of that part; it belongs to the identity of a refitted model.
        label: what the data is, for the progress line.

    With ``context.workdir``, a model that was fitted there with the same configuration, data, seed
    and version is loaded instead, so a run that was interrupted goes on where it stopped.

    Returns:
        Name -> identity of each fitted model: hexadecimal digits that change with all of these.

    Raises:
        ConfigError: a model needs one that is not there, or that needs it in turn.
    """
    keys: dict[str, str] = {}
    for name, model in in_order_of_need(models).items():
        needed = {other: keys[other] for other in model.needs()}
        key = keys[name] = _key(model, data, context, again, after, needed)
        kept = None if context.workdir is None else context.workdir / "models" / f"{name}-{key}"
        if kept is not None and _load(model, kept, data):
            log.info("%s: found fitted in %s", name, kept)
        else:
            verb = "refit" if again else "fit"
            with stage(f"{verb} {name} on {label or repr(data)}", show=context.progress):
                scratch = None if context.workdir is None else context.workdir / "checkpoints" / key
                fitted = {other: models[other] for other in needed}
                own = replace(context, workdir=scratch, fitted=fitted)
                (model.refit if again else model.fit)(data, own)
            if kept is not None:
                save_folder(kept, model.save, meta={"model": name})
        model.provenance = Provenance.of(data)
    return {name: keys[name] for name in models}


def in_order_of_need(models: Mapping[str, Model]) -> dict[str, Model]:
    """``models``, each after those that it needs; otherwise in their order.

    Raises:
        ConfigError: one that is needed is not there, or two need each other.
    """
    done: dict[str, Model] = {}

    def add(name: str, asking: tuple[str, ...]) -> None:
        if name in done:
            return
        if name not in models or name in asking:
            raise ConfigError(
                explain(
                    f"model {asking[-1]}",
                    f"one of {', '.join(m for m in models if m not in asking) or 'no'} model(s)",
                    f"{name!r}, which " + ("needs it in turn" if name in asking else "is not here"),
                    "name models of this configuration",
                )
            )
        for other in models[name].needs():
            add(other, (*asking, name))
        done[name] = models[name]

    for name in models:
        add(name, ())
    return done


def _key(
    model: Model,
    data: Dataset,
    context: FitContext,
    again: bool,
    after: str,
    needed: Mapping[str, str],
) -> str:
    kind = type(model)
    what = [
        f"{kind.__module__}:{kind.__qualname__}",
        model.name,
        json.loads(model.config.model_dump_json()),
        data.fingerprint,
        # some models read the items' fields, which the fingerprint does not know
        json.dumps(dict(data.catalog.fields), sort_keys=True, default=str),
        context.seed,
        again,
        after,
        dict(needed),
        __version__,
        FORMAT_VERSION,
    ]
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _load(model: Model, folder: Path, data: Dataset) -> bool:
    if not folder.is_dir():
        return False
    try:
        open_folder(folder)
    except ArtifactError as error:
        log.warning("%s is fitted again: %s", model.name, error)
        return False
    model.load(folder, data)
    return True
