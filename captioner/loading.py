"""Loads what was trained, from a run folder or an export."""

import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner import config, tasks
from captioner.errors import CaptionerError
from captioner.serving.exporting import is_version


def load(folder: str | Path, **options: Any) -> Any:
    """Loads a run folder, an exported version, or the newest version of a folder of exports.

    Args:
        folder: str or Path.
        **options: of a captioner `beams`, int or None: captions searched at once; a run folder
            takes any, an export has its own. Defaults to what the model was trained to be served
            with. And `overrides`, `decode` settings for a run folder (`captioner.config.Decode`),
            such as "decode.search=sample"; an export has its own.

    Returns:
        What the model's task makes of it: of captioning a `captioner.captioning.Captioner`.

    Raises:
        CaptionerError: no such folder, no model in it, beams that the export doesn't have, or
            settings that can't be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CaptionerError(f"no folder {folder}: name a run folder or an exported model")
    options = {name: one for name, one in options.items() if one is not None}
    overrides = list(options.pop("overrides", ()))
    if (folder / "config.json").is_file():
        settings = config.load(folder / "config.json")
        if overrides:
            options["overrides"] = overrides
        return tasks.of(settings).open_run(settings, folder, **options)
    version = newest_version(folder)
    if version is None:
        raise CaptionerError(
            f"{folder} holds no captioner: expected a run (config.json) or an export "
            "(saved_model.pb, or numbered folders that hold one)"
        )
    if overrides:
        raise CaptionerError(
            f"{version} is an export, whose settings are part of its graph: load the run folder, "
            f"or `python -m captioner.export --run DIR --set {' '.join(overrides)}`"
        )
    return _load_export(version, options)


def newest_version(folder: Path) -> Path | None:
    """The folder itself if it is a SavedModel, else its highest numbered one, else None."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [
        path
        for path in folder.iterdir()
        if is_version(path.name) and (path / "saved_model.pb").is_file()
    ]
    return max(versions, key=lambda path: int(path.name), default=None)


def _load_export(folder: Path, options: dict[str, Any]) -> Any:
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # of any kind: what is read may be damaged anywhere
        raise CaptionerError(
            f"{folder} can't be loaded, it is damaged or incomplete: {_reason(error)}"
        ) from error
    about = _about(folder)
    task = tasks.of_facts(about, list(model.signatures))
    missing = set(task.signatures) - set(model.signatures)
    if missing:
        raise CaptionerError(
            f"{folder} is a SavedModel but no captioner: it has no signature "
            f"{' or '.join(sorted(missing))}"
        )
    return task.open_export(folder, model, about, **options)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _about(folder: Path) -> dict[str, Any]:
    """What an export says about itself; nothing where that is lost, as captioning goes without."""
    try:
        about = json.loads((folder / "assets.extra" / "captioner.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
