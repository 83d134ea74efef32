"""From file bytes to caption: how long it takes beside a bare ResNet50."""

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from captioner.inputs.images import decode_images, normalise
from captioner.measuring.bench import BARE, Bench
from captioner.measuring.comparison import (
    MILLISECONDS,
    RATE,
    Comparison,
    Contender,
    Unit,
    timed,
)
from captioner.serving.contract import SIGNATURES

BATCHES = (1, 8, 32)
_PHONE_BATCH = 8


def captioning(bench: Bench) -> Iterator[Comparison]:
    """The export's signatures beside the bare network, at each batch size."""
    for batch in BATCHES:
        unit = MILLISECONDS if batch == 1 else RATE
        images = "one photograph" if batch == 1 else f"{batch} photographs at once"
        yield Comparison(
            f"captioning, batch {batch}",
            f"file bytes to caption, {images}",
            unit,
            _contenders(bench, bench.photos(batch), unit, signatures=True),
        )
    if phone := bench.phone_photos(_PHONE_BATCH):
        yield Comparison(
            f"captioning, phone photographs, batch {_PHONE_BATCH}",
            f"the same, {_PHONE_BATCH} photographs of a phone (4032x3024) at once",
            RATE,
            _contenders(bench, phone, RATE, signatures=False),
        )


def _contenders(
    bench: Bench, files: list[bytes], unit: Unit, signatures: bool
) -> list[Contender]:
    batch, side = len(files), bench.side
    # A latency is of a call, whatever it holds.
    amount = 1 if unit is MILLISECONDS else batch
    given = tf.constant(files)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def plain(contents):
        return bench.bare(normalise(decode_images(contents, side)[0]))

    found = [
        bench.bare_contender(batch),
        Contender(
            "decode and resize", timed(lambda: decode_images(given, side)[0].numpy()), amount
        ),
        Contender(f"decode, resize, {BARE}", timed(lambda: plain(given).numpy()), amount),
    ]
    subject = bench.subject
    for name in subject.searches:
        label = f"caption: {name}"
        found.append(Contender(label, _signature(bench, name, SIGNATURES[0], files), amount))
    if signatures:
        prompts = [b"dog frisbee"] * batch
        for signature in SIGNATURES[1:]:
            label = f"{signature}: {subject.own}, two key words"
            sample = _signature(bench, subject.own, signature, files, prompts)
            found.append(Contender(label, sample, amount))
    return found


def _signature(
    bench: Bench, search: str, name: str, files: list[bytes], prompts: Sequence[bytes] = ()
) -> Callable[[], float]:
    call = bench.subject.call(search)
    inputs = {"image_bytes": files} | ({"prompt": list(prompts)} if prompts else {})
    return timed(lambda: call(name, inputs))
