"""What the tests of the served graph share: pictures, bad files, loaded models, other processes."""

import functools
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.captioning import Captioner
from captioner.loading import load

# What a user of the SavedModel writes, in a process that has TensorFlow and nothing else:
# CLIENT HOW FOLDER < requests.json > results.json, where HOW is `python` or `session`.
CLIENT = """
import base64, json, sys
import tensorflow as tf

def strings(values):
    return [base64.b64decode(value) for value in values]

def plain(value):
    value = value.tolist()
    walk = lambda x: [walk(y) for y in x] if isinstance(x, list) else (
        x.decode() if isinstance(x, bytes) else x)
    return walk(value)

how, folder = sys.argv[1:]
requests = json.load(sys.stdin)
results = []
if how == "python":
    model = tf.saved_model.load(folder)
    for name, inputs in requests:
        inputs = {key: tf.constant(strings(value), tf.string) for key, value in inputs.items()}
        results.append({k: plain(v.numpy()) for k, v in model.signatures[name](**inputs).items()})
else:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        for name, inputs in requests:
            signature = graph.signature_def[name]
            fetched = session.run(
                {key: info.name for key, info in signature.outputs.items()},
                {signature.inputs[key].name: strings(value) for key, value in inputs.items()},
            )
            results.append({key: plain(value) for key, value in fetched.items()})
others = ("captioner", "tensorflow_text", "tensorflow_hub", "keras_nlp", "keras_hub")
print(json.dumps({"version": tf.__version__, "results": results,
                  "imported": [name for name in others if name in sys.modules]}))
"""


def start_client(how: str, folder: Path, python: str = sys.executable) -> subprocess.Popen:
    """A process that knows nothing of captioner, waiting for `requests` on its standard input."""
    hidden = ("PYTHONPATH", "PYTHONHOME")
    return subprocess.Popen(
        [python, "-c", CLIENT, how, str(folder.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name not in hidden},
    )


def answers(client: subprocess.Popen, requests: str) -> dict:
    """What the client found; its standard error where it failed."""
    out, err = client.communicate(requests, timeout=300)
    assert client.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@functools.lru_cache(maxsize=3)
def loaded(folder: Path, beams: int | None = None) -> Captioner:
    """`captioner.load`, once for tests that follow each other; each holds hundreds of megabytes."""
    return load(folder, beams=beams)


def jpeg(seed: int = 0, width: int = 90, height: int = 70, **options) -> bytes:
    """A JPEG of coloured patches, another one for each seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.NEAREST).save(
        file, "JPEG", quality=95, **options
    )
    return file.getvalue()


def png_bomb() -> bytes:
    """A PNG of a few bytes whose header promises 10 gigapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header))


UNREADABLE = {
    "empty": b"",
    "text": b"no picture at all\n",
    "truncated": jpeg(99)[: len(jpeg(99)) // 2],
    "webp": b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\x01\0\x9d\x01\x2a\x01\0\x01\0\0\0\0\0",
    "bomb": png_bomb(),
}
