"""Checkpoints of a run: written whole or not at all, with a way back when one is damaged.

`checkpoints/00000140/` is the state after step 140, `best/` the weights of the best validation (or,
with train.weights=last, of the last one), and `frozen/` the weights that never change, once. Each
folder is written under another name and renamed.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner.errors import CaptionerError

Variables = Mapping[str, tf.Variable]

_WEIGHTS = "variables"
_STATE = "state.json"

# What reading a damaged checkpoint raises: TensorFlow translates some of its errors to Python's.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
    tf.errors.OpError,
)


class Damaged(Exception):
    """A checkpoint that can't be restored."""


def write(folder: Path, variables: Variables, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint folder whole, in place of one that may be there.

    Raises:
        OSError: the disk is full, or can't be written; nothing is left behind, and a folder that
            was there stays.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        tf.train.Checkpoint(values=dict(variables)).write(str(temporary / _WEIGHTS))
        (temporary / _STATE).write_text(json.dumps(state), encoding="utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    except tf.errors.OpError as error:
        raise _system_error(error, folder) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _system_error(error: tf.errors.OpError, folder: Path) -> OSError:
    """TensorFlow's account of a failed write, as the system's own."""
    # "{{node}} /path/variables.data; No space left on device [Op:SaveV2]"
    reason = error.message.partition("\n")[0].rpartition("; ")[2].partition(" [Op")[0]
    number = next((code for code in errno.errorcode if os.strerror(code) == reason), errno.EIO)
    return OSError(number, reason, str(folder))


def restore(folder: Path, variables: Variables) -> dict[str, Any]:
    """Restores variables from a checkpoint folder and returns its state.

    Raises:
        Damaged: it is missing, cut short, changed, or of other variables.
    """
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        status = tf.train.Checkpoint(values=dict(variables)).read(str(folder / _WEIGHTS))
        status.assert_existing_objects_matched()
        status.expect_partial()  # a step's checkpoint also serves whoever wants its averages alone
        if not isinstance(state, dict):
            raise ValueError(f"{_STATE} holds no state")
    except _UNREADABLE as error:
        # TensorFlow begins with its own node's name, in braces.
        reason = re.sub(r"^{{.*?}} ", "", str(error).strip().partition("\n")[0])
        raise Damaged(f"{folder}: {reason}") from None
    return state


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Path. The run's `checkpoints`.
        keep: int. How many steps' checkpoints stay.
        warn: function. Told of what had to be passed over.
    """

    def __init__(self, folder: Path, keep: int = 3, warn: Callable[[str], None] = lambda _: None):
        self.folder = folder
        self._keep = keep
        self._warn = warn

    def steps(self) -> list[Path]:
        """The checkpoints there are, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit())

    def save(self, variables: Variables, state: Mapping[str, Any]) -> None:
        """Saves the state after `state["step"]` steps and drops the oldest beyond `keep`."""
        write(self.folder / f"{state['step']:08d}", variables, state)
        for path in self.steps()[: -self._keep]:
            shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Removes what a run that was killed while it wrote left half done."""
        for path in self.folder.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def resume(self, variables: Variables) -> dict[str, Any] | None:
        """Restores the newest checkpoint that is sound; None where there is none.

        A checkpoint whose state doesn't name its own step is not sound.

        Raises:
            CaptionerError: there are checkpoints, and none can be restored.
        """
        failures = []
        for path in reversed(self.steps()):
            try:
                state = restore(path, variables)
                if state.get("step") != int(path.name):
                    raise Damaged(f"{path}: {_STATE} is of another step")
            except Damaged as error:
                failures.append(str(error))
                self._warn(f"checkpoint {error}; going back to the one before")
                continue
            # A later one that is damaged must not be found again.
            for other in self.steps():
                if other.name > path.name:
                    shutil.rmtree(other, ignore_errors=True)
            return state
        if failures:
            raise CaptionerError(
                f"no checkpoint in {self.folder} can be restored ({failures[0]}); "
                "remove the run folder to begin again, or restore it from a backup"
            )
        return None

    def save_best(self, variables: Variables, state: Mapping[str, Any]) -> None:
        """Saves the weights to keep: those that validated best so far, or the last that did."""
        write(self.folder / "best", variables, state)

    def restore_best(self, variables: Variables) -> dict[str, Any]:
        """Restores the best weights; where they are damaged, those of the newest sound step.

        Raises:
            CaptionerError: there are none.
        """
        failures = []
        for path in (self.folder / "best", *reversed(self.steps())):
            try:
                state = restore(path, variables)
            except Damaged as error:
                failures.append(str(error))
                continue
            if failures:
                self._warn(f"the best weights can't be read ({failures[0]}); using {path}")
            return state
        raise CaptionerError(
            f"{self.folder.parent} holds no trained weights ({failures[0]}); "
            "train it first, or name another folder"
        )

    def save_frozen(self, variables: Variables) -> None:
        """Saves the weights that never change, once."""
        if variables and not (self.folder / "frozen").is_dir():
            write(self.folder / "frozen", variables, {})

    def restore_frozen(self, variables: Variables) -> None:
        """Restores what `save_frozen` wrote.

        Raises:
            CaptionerError: it is missing or damaged.
        """
        if not variables:
            return
        try:
            restore(self.folder / "frozen", variables)
        except Damaged as error:
            raise CaptionerError(f"frozen weights {error}; train the run again") from None
