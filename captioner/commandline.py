"""What the commands share: argument parsing, errors as one line, quiet TensorFlow.

The standard library's argparse does the parsing: it takes `--set a=1 b=2`, repeated options and
positional file lists, and needs nothing installed.
"""

import argparse
import errno
import faulthandler
import os
import sys
import traceback
from collections.abc import Callable, Set
from typing import NoReturn

from captioner import kernels
from captioner.errors import CaptionerError


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong argument costs the user one line, not the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The parser of `python -m captioner.NAME`, with what every command takes."""
    made = _Parser(
        prog=f"python -m captioner.{name}",
        description=description,
        allow_abbrev=False,  # an abbreviation breaks scripts on the day a new option appears
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def add_settings(made: argparse.ArgumentParser) -> None:
    """Adds `--set key=value ...`, which may be repeated."""
    made.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="settings that beat the recipe's, such as train.epochs=3 (see "
        "captioner/config/sections.py)",
    )


def check_options(
    arguments: argparse.Namespace, made: argparse.ArgumentParser, known: Set[str], whose: str
) -> None:
    """Refuses options that what is asked makes nothing of.

    Args:
        arguments: as parsed.
        made: the parser.
        known: the names of those that are heeded.
        whose: what heeds them, for the message.

    Raises:
        CaptionerError: others were given.
    """
    given = [
        name for name, value in vars(arguments).items()
        if name not in known and value != made.get_default(name)
    ]  # fmt: skip
    if given:
        words = (name.replace("_", "-").replace("overrides", "set") for name in given)
        raise CaptionerError(
            f"{', '.join(f'--{word}' for word in words)}: not an option for {whose}"
        )


def run(
    main: Callable[[argparse.Namespace], int | None],
    arguments: argparse.Namespace,
    *,
    batches: bool = False,
) -> NoReturn:
    """Calls a command and exits: 0 or what it returned, 2 with one line for bad input,
    130 after an interrupt.

    Args:
        main: the command; TensorFlow is not loaded before.
        arguments: as parsed.
        batches: whether it works on batches (`kernels.for_batches`).
    """
    _prepare_streams()
    if batches:
        kernels.for_batches()
    if not arguments.debug:
        _hush_native_code()
    try:
        code = main(arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader (head, less) has gone: nothing is wrong here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except CaptionerError as error:
        if arguments.debug:
            traceback.print_exc()
        code = _complain(str(error))
    except OSError as error:
        if arguments.debug:
            traceback.print_exc()
        code = _complain(describe(error))
    sys.exit(code)


def _complain(message: str) -> int:
    """One line on standard error, whatever a file's name holds."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _prepare_streams() -> None:
    """Makes printing safe: a caller may have closed a stream (`>&-`), and a file's name need not
    be UTF-8."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _hush_native_code() -> None:
    """Keeps the chatter of TensorFlow's C++ parts from the user's terminal.

    They write to file descriptor 2, partly before any log level is heeded; Python's standard error
    moves to a descriptor of its own. `--debug` leaves everything as it is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    sys.stderr = open(
        os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace"
    )  # noqa: SIM115
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    faulthandler.enable(sys.stderr)  # a crash in native code still leaves a trace


def tell(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def count(text: str) -> int:
    """A number from 1 on, as argparse wants it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def probability(text: str) -> float:
    """A number from 0 to 1, as argparse wants it."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def describe(error: OSError) -> str:
    """An operating-system error in one line, with what to do about a full disk."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full{where}; nothing finished was lost: "
            "free some space and run the same command again"
        )
    return f"{error.strerror or error}{where}"
