"""How a model server merges requests into batches: `batching_params.pbtxt`.

TensorFlow Serving reads this file in a version's folder when it is started with
`--enable_batching --enable_per_model_batching_parameters`. The threads that run batches are shared
by all models, so their number stands in the server's own file, `saved_models/batching.config`.

Measured on two cores with a model of the recipe `flickr8k` (5 beams, 24 tokens), in images a
second: 21 one at a time, 32 in batches of 4, 35 of 8, 34 of 16 and 37 of 32, with 0.05 s, 0.23 s
and 0.87 s for one batch of 1, 8 and 32. The process holds 1.1 GiB once loaded and 1.6 GiB after a
batch of 32.
"""

from pathlib import Path

# The name that the server looks for.
FILE = "batching_params.pbtxt"

# What a merged batch is filled up to; the last is the largest batch that is run.
SIZES = (1, 2, 4, 8, 16, 32)

_TEXT = """\
# How TensorFlow Serving merges requests to this model into batches (BatchingParameters). Read with
# --enable_batching=true --enable_per_model_batching_parameters=true.

# Rows of one batch, and so the most images of one request: more are refused (INVALID_ARGUMENT).
# Beyond 8, a CPU gains little; 32 is what captioner's own programs send at once.
max_batch_size {{ value: {largest} }}

# How long a lone request waits for company, in microseconds: a tenth of what captioning one image
# takes. Under load nobody waits this long, as requests gather behind the batch that is running.
batch_timeout_micros {{ value: 5000 }}

# Batches waiting at most, each signature for itself: 256 images, which two cores work off in 7 to
# 14 s, well before the 30 s after which REST calls give up. Beyond that requests fail at once
# (UNAVAILABLE) and should be sent again after a pause.
max_enqueued_batches {{ value: 8 }}

# A batch is filled up to the next of these with copies of one of its rows, whose results are
# thrown away. So an accelerator meets few shapes, and all of them when it warms up. Without an
# accelerator the copies only cost time: there this list may be removed.
{sizes}

# No input has a variable second dimension.
pad_variable_length_inputs: false
"""


def write(folder: Path) -> None:
    """Writes `batching_params.pbtxt` into a version's folder."""
    sizes = "\n".join(f"allowed_batch_sizes: {size}" for size in SIZES)
    text = _TEXT.format(largest=SIZES[-1], sizes=sizes)
    (folder / FILE).write_text(text, encoding="utf-8")
