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
from fusion.errors import ArtifactError
from fusion.persistence import open_folder, save_folder
from fusion.progress import stage
from fusion.protocols import FitContext, Model, Provenance

__all__ = ["fit_models"]

log = logging.getLogger(__name__)


def fit_models(
    models: Mapping[str, Model],
    data: Dataset,
    context: FitContext,
    *,
    again: bool = False,
    after: str = "",
    label: str = "",
) -> None:
    """Fit each of ``models`` on ``data`` and write down what it saw.

    Args:
        again: call `Model.refit`: the models were fitted on a part of ``data`` before.
        after: fingerprint of that part; it belongs to the identity of a refitted model.
        label: what the data is, for the progress line.

    With ``context.workdir``, a model that was fitted there with the same configuration, data, seed
    and version is loaded instead, so a run that was interrupted goes on where it stopped.
    """
    for name, model in models.items():
        key = _key(model, data, context, again, after)
        kept = None if context.workdir is None else context.workdir / "models" / f"{name}-{key}"
        if kept is not None and _load(model, kept, data):
            log.info("%s: found fitted in %s", name, kept)
        else:
            verb = "refit" if again else "fit"
            with stage(f"{verb} {name} on {label or repr(data)}", show=context.progress):
                scratch = None if context.workdir is None else context.workdir / "checkpoints" / key
                own = replace(context, workdir=scratch)
                (model.refit if again else model.fit)(data, own)
            if kept is not None:
                save_folder(kept, model.save, meta={"model": name})
        model.provenance = Provenance.of(data)


def _key(model: Model, data: Dataset, context: FitContext, again: bool, after: str) -> str:
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
