"""Where a command's captioner comes from: `--model DIR`, or `--server URL` and what goes with it."""

import argparse
from pathlib import Path
from typing import Any

from captioner.captioning import Captioner, checked
from captioner.errors import CaptionerError

WITH_SERVER = ("model_name", "label", "timeout")


def add(made: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds the options; not `required` where something else may name a model."""
    where = made.add_mutually_exclusive_group(required=required)
    where.add_argument("--model", type=Path, metavar="DIR", help="a run folder or an export")
    where.add_argument(
        "--server",
        metavar="URL",
        help="a model server: http://HOST:8501, https://HOST, grpc://HOST:8500, grpcs://HOST:PORT",
    )
    made.add_argument(
        "--model-name", metavar="NAME", help="the model's name on the server (default: captioner)"
    )
    made.add_argument(
        "--label",
        metavar="NAME",
        help="which version on the server, such as stable (default: the newest)",
    )
    made.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="how long a batch may take the server (default: 30)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raises `CaptionerError` for options that go with a server where there is none."""
    for name in WITH_SERVER:
        if arguments.server is None and getattr(arguments, name) is not None:
            raise CaptionerError(
                f"--{name.replace('_', '-')} goes with --server, not with --model"
            )


def open_captioner(arguments: argparse.Namespace, **options: Any) -> Captioner:
    """The captioner that the options name; `options` are `captioner.load`'s, for a folder."""
    check(arguments)
    if arguments.server is None:
        from captioner.loading import load

        return checked(load(arguments.model, **options))
    from captioner.serving.client import connect

    named = {"model": arguments.model_name, "label": arguments.label, "timeout": arguments.timeout}
    given = {key: value for key, value in named.items() if value is not None}
    return connect(arguments.server, **given)
