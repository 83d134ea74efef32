"""Loads a captioner from a run folder or an export."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from captioner import confidence, config
from captioner.captioning import Captioner
from captioner.errors import CaptionerError
from captioner.serving.contract import SIGNATURES
from captioner.serving.exporting import is_version
from captioner.serving.signatures import ServedCaptioner


def load(
    folder: str | Path, *, beams: int | None = None, overrides: Iterable[str] = ()
) -> Captioner:
    """Loads a run folder, an exported version, or the newest version of a folder of exports.

    Args:
        folder: str or Path.
        beams: int or None. Captions searched at once; a run folder takes any, an export has its
            own. Defaults to what the model was trained to be served with.
        overrides: `decode` settings for a run folder (`captioner.config.Decode`), such as
            "decode.search=sample"; an export has its own.

    Raises:
        CaptionerError: no such folder, no captioner in it, beams that the export doesn't have, or
            settings that can't be.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CaptionerError(f"no folder {folder}: name a run folder or an exported model")
    if (folder / "config.json").is_file():
        return _load_run(folder, beams, list(overrides))
    version = newest_version(folder)
    if version is None:
        raise CaptionerError(
            f"{folder} holds no captioner: expected a run (config.json) or an export "
            "(saved_model.pb, or numbered folders that hold one)"
        )
    if overrides := list(overrides):
        raise CaptionerError(
            f"{version} is an export, whose settings are part of its graph: load the run folder, "
            f"or `python -m captioner.export --run DIR --set {' '.join(overrides)}`"
        )
    return _load_export(version, beams)


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


def _load_run(folder: Path, beams: int | None, overrides: list[str]) -> Captioner:
    from captioner.serving.trained import load_trained

    settings = config.load(folder / "config.json")
    if beams is not None:
        overrides = [*overrides, f"decode.beams={beams}"]
    if overrides:
        settings = config.changed(settings, overrides, sections=("decode",))
    decode = settings.decode
    served = ServedCaptioner(load_trained(folder), decode, settings.model.image_side)
    calibration = confidence.read(folder / confidence.FILE)
    weights = confidence.fingerprint(folder) if calibration else None
    dumped = decode.model_dump(mode="json")  # as an export's come out of its file
    return _captioner(folder, served.functions, dumped, served, calibration, weights)


def _load_export(folder: Path, beams: int | None) -> Captioner:
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # of any kind: what is read may be damaged anywhere
        raise CaptionerError(
            f"{folder} can't be loaded, it is damaged or incomplete: {_reason(error)}"
        ) from error
    functions = dict(model.signatures)
    missing = set(SIGNATURES) - set(functions)
    if missing:
        raise CaptionerError(
            f"{folder} is a SavedModel but no captioner: it has no signature "
            f"{' or '.join(sorted(missing))}"
        )
    _, most, tokens = functions["caption_beams"].structured_outputs["tokens"].shape
    if beams is not None and not 1 <= beams <= most:
        raise CaptionerError(
            f"{folder} searches {most} beams, which is part of its graph; ask for 1 to {most}, or "
            f"export the run with --set decode.beams={beams}"
        )
    about = _about(folder)
    settings = {**about.get("decode", {}), "beams": most, "max_tokens": tokens}
    try:
        calibration = confidence.parse(about["calibration"]) if "calibration" in about else None
    except ValueError:  # damaged, or another version's: captioning goes without
        calibration = None
    return _captioner(folder, functions, settings, model, calibration)


def _captioner(
    folder: Path,
    functions: dict[str, Callable],
    settings: dict,
    keep: Any,
    calibration: confidence.Calibration | None,
    weights: str | None = None,
) -> Captioner:
    def call(signature: str, inputs: dict[str, list[bytes]]) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(rows, tf.string) for name, rows in inputs.items()}
        return {name: one.numpy() for name, one in functions[signature](**tensors).items()}

    return Captioner(
        folder, call, settings, calibration=calibration, weights=weights, keep=keep
    )


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
