"""Mutated image files against an exported captioner: no failed call, no changed neighbour.

    python tests/fuzz.py EXPORT [--files 20000] [--seed 0] [--photos DIR]

Batches of eight hold six mutants and two sound pictures in places drawn anew. A mutant may get a
caption or a reason in `error`; the sound pictures must get, bit for bit, what they get in a batch
of sound pictures only. Prints how many files were captioned or refused, why, and the memory's peak.
"""

import argparse
import re
import resource
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pictures import FILES, encode, mutate, scene, turned_jpeg

from captioner.captioning import Captioner
from captioner.loading import load
from captioner.serving.contract import SIGNATURES

BATCH, SOUND = 8, 2


@dataclass
class Counts:
    """What became of the mutants."""

    calls: int = 0
    captioned: int = 0
    refused: Counter = field(default_factory=Counter)
    """Reasons, figures in them replaced by N, with how often each was given."""

    def __str__(self) -> str:
        refused = self.refused.total()
        lines = [
            f"{self.captioned + refused} mutated files in {self.calls} calls: no call failed, no "
            f"neighbour changed",
            f"{self.captioned} captioned, {refused} refused:",
        ]
        lines += [f"{count:7d}  {reason}" for reason, count in self.refused.most_common()]
        return "\n".join(lines)


def fuzz(model: Captioner, originals: list[bytes], files: int, seed: int) -> Counts:
    """Sends at least `files` mutants; raises `AssertionError` at the first wrong answer."""
    random = np.random.default_rng(seed)
    sound = [encode(scene(seed=101), "JPEG"), encode(scene(80, 120, seed=102), "PNG")]
    counts = Counts()
    expected: dict[tuple[int, str], dict] = {}
    while counts.captioned + counts.refused.total() < files:
        signature = SIGNATURES[counts.calls % len(SIGNATURES)]
        places = random.choice(BATCH, SOUND, replace=False)
        chosen = random.integers(len(originals), size=BATCH)
        batch = [mutate(originals[one], random) for one in chosen]
        # Prompts are any bytes, too; the sound pictures' are their own.
        prompts = [random.bytes(int(random.integers(12))) for _ in batch]
        for which, place in enumerate(places):
            batch[place], prompts[place] = sound[which], (b"", b"a dog\xe2\x80\xa6")[which]
            if (which, signature) not in expected:
                alone = [prompts[place]] * BATCH
                expected[which, signature] = _ask(model, signature, [sound[which]] * BATCH, alone)
        found = _ask(model, signature, batch, prompts)
        for which, place in enumerate(places):
            for name, rows in expected[which, signature].items():
                where = f"{name} of {signature}, call {counts.calls}"
                if rows.dtype.kind != "f":
                    np.testing.assert_array_equal(found[name][place], rows[place], where)
                    continue
                # Some processors round the last bit by how wide a batch's longest prompt is.
                np.testing.assert_allclose(
                    found[name][place], rows[place], rtol=2e-6, atol=1e-6, err_msg=where
                )
        counts.calls += 1
        for place in sorted(set(range(BATCH)) - set(places.tolist())):
            error = found["error"][place].decode()
            captions = np.ravel(found["captions" if "captions" in found else "caption"][place])
            assert not (error and any(captions)), "a refused file with a caption"
            if error:
                counts.refused[re.sub(r"\d+", "N", error)] += 1
            else:
                counts.captioned += 1
    return counts


def _ask(model: Captioner, signature: str, images: list[bytes], prompts: list[bytes]) -> dict:
    inputs = {"image_bytes": images}
    if signature != "serving_default":
        inputs["prompt"] = prompts
    return model.call(signature, inputs)


def peak_memory() -> float:
    """The process's peak so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs to mutate as well")
    arguments = parser.parse_args()
    originals = originals_of(arguments.photos)
    model = load(arguments.export)
    fuzz(model, originals, BATCH * len(SIGNATURES), arguments.seed + 1)
    before = peak_memory()
    print(fuzz(model, originals, arguments.files, arguments.seed))
    print(f"peak memory {before:.0f} MiB after the first calls, {peak_memory():.0f} MiB at the end")


def originals_of(photos: Path | None = None) -> list[bytes]:
    """A file of each kind, turned photos, and at most fifty real ones."""
    made = [make() for make in FILES.values()]
    made += [turned_jpeg(orientation) for orientation in (3, 6)]
    real = sorted(photos.glob("*.jpg"))[:50] if photos else []
    return made + [path.read_bytes() for path in real]


if __name__ == "__main__":
    sys.exit(main())
