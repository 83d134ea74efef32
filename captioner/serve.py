"""python -m captioner.serve: a web page that captions photos, answers questions or searches."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner import commandline, source, tasks
from captioner.errors import CaptionerError
from captioner.searching import TASK, open_index


def main(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    source.check(arguments)
    task = _task(arguments)

    from captioner.web.server import bind, is_loopback, run
    from captioner.web.service import Limits

    bound = bind(arguments.host, arguments.port)
    if not is_loopback(bound.getsockname()[0]):
        print(
            f"note: {arguments.host} can be reached from other machines, and there is no "
            "password; put a proxy with access control before it",
            file=sys.stderr,
        )
    limits = Limits(
        upload=arguments.max_upload * 2**20,
        images=min(Limits.images, arguments.queue),
        batch=arguments.batch,
        queue=arguments.queue,
    )
    service, load = _served(arguments, task, limits)
    was_ready = run(
        service,
        bound,
        load,
        lambda url: print(f"serving on {url}", flush=True),
        host=arguments.host,
        more_hosts=arguments.allow_host,
    )
    if not was_ready:
        # TensorFlow is being loaded on a thread, which nothing can stop.
        os._exit(0)
    return 0


def _task(arguments: argparse.Namespace) -> str:
    """What is served, as far as that can be told before TensorFlow is loaded.

    Raises:
        CaptionerError: options that don't go together.
    """
    if arguments.search is not None:
        for name in ("server", "min_confidence"):
            if getattr(arguments, name) is not None:
                raise CaptionerError(
                    f"--{name.replace('_', '-')} is about captions, and --search finds photos: "
                    "leave one out"
                )
        return TASK
    if arguments.model is None:
        # A model server doesn't say what its model is for: there all prompts are taken as they are.
        if arguments.server is None:
            raise CaptionerError("one of --model, --server and --search is needed")
        return "caption"
    task = tasks.of_folder(arguments.model).name
    if task == TASK:
        raise CaptionerError(
            f"{arguments.model} embeds photos and texts, and writes no captions: --search INDEX "
            "serves an index of photos that it made (python -m captioner.search build)"
        )
    return task


def _served(arguments: argparse.Namespace, task: str, limits: Any) -> tuple[Any, Callable]:
    """The service, and what loads its model."""
    from captioner.inputs.convert import sendable

    if task == TASK:
        from captioner.web.finding import Finder

        return Finder(limits, sendable), lambda: open_index(arguments.search, arguments.model)
    from captioner.web.app import Service

    service = Service(limits, sendable, arguments.min_confidence, task)
    return service, lambda: source.open_captioner(arguments)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("serve", __doc__.partition(": ")[2])
    source.add(made, required=False)
    made.add_argument(
        "--search",
        type=Path,
        metavar="INDEX",
        help="search the photos of an index that captioner.search built; --model is then what made "
        "it (default: what made it, where that was)",
    )
    made.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on (default: 127.0.0.1, this machine alone)",
    )
    made.add_argument(
        "--port", type=_port, default=8080, help="port; 0 takes a free one (default: 8080)"
    )
    made.add_argument(
        "--allow-host",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="further names to answer to, such as that of a proxy in front",
    )
    made.add_argument(
        "--min-confidence",
        type=commandline.probability,
        metavar="P",
        help="give no caption that is less sure than this, 0 to 1, and take no prompts; needs a "
        "model that captioner.calibrate has calibrated",
    )
    made.add_argument(
        "--batch", type=commandline.count, default=32, metavar="N", help="most images in one call "
        "of the model (default: 32)",
    )  # fmt: skip
    made.add_argument(
        "--queue", type=commandline.count, default=256, metavar="N", help="most images that wait "
        "(default: 256); beyond, requests get 503",
    )  # fmt: skip
    made.add_argument(
        "--max-upload", type=commandline.count, default=32, metavar="MIB", help="largest "
        "request (default: 32 MiB)",
    )  # fmt: skip
    return made


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return port


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
