"""python -m captioner.serve: a web page that captions photos, and its server."""

import argparse
import os
import sys

from captioner import commandline, source


def main(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    source.check(arguments)

    from captioner.inputs.convert import sendable
    from captioner.web.app import Limits, Service
    from captioner.web.server import bind, is_loopback, run

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
    was_ready = run(
        Service(limits, sendable, arguments.min_confidence),
        bound,
        lambda: source.open_captioner(arguments),
        lambda url: print(f"serving on {url}", flush=True),
        host=arguments.host,
        more_hosts=arguments.allow_host,
    )
    if not was_ready:
        # TensorFlow is being loaded on a thread, which nothing can stop.
        os._exit(0)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("serve", __doc__.partition(": ")[2])
    source.add(made)
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
