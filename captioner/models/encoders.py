"""Encoders: pictures and prompts as grids and tokens.

Legend: B batch, H, W pixels, R regions, D encoder width, P prompt tokens.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from captioner.config.freezing import LITE0, STAGES
from captioner.errors import CaptionerError
from captioner.inputs.wordpiece import BERT_INPUTS, READ
from captioner.models import grids
from captioner.models.folded import Folded, FoldedLite0, FoldedResNet50
from captioner.models.image_nets import NETS, TITLES


class ImageEncoder(keras.layers.Layer):
    """A network for pictures without its top: the last grid, region by region; with more levels,
    those of earlier stages beside it ("hypercolumns": Hariharan et al., 2015).

    Batch-norm statistics are always those of the weights file, in fine-tuning too: the batches
    of captioning are too small and too alike for better ones.

    Args:
        side: int. Side of the pictures, in pixels.
        weights: path or None. A Keras weights file of the network without its top (of a ViT a
            preset); None for random.
        begun: int. How many of its stages, from the pixels on, `begin` computes: those that are
            not trained, as what they give can be kept. Defaults to all.
        kind: one of `image_nets.NETS`. Defaults to resnet50.
        load: bool. Whether to load the weights; False where a checkpoint is about to be restored.
        levels: int. Of how many of the last stages a region consists: what the last gives there
            comes first, and what earlier ones give is averaged over it. Defaults to 1.

    Raises:
        CaptionerError: weights that don't fit, or more levels than what is begun leaves.
    """

    def __init__(
        self,
        side: int = 224,
        weights: Path | str | None = None,
        begun: int | None = None,
        kind: str = "resnet50",
        load: bool = True,
        levels: int = 1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.side, self.kind = side, kind
        # Keras names variables by where they are built, and `train.freeze` goes by names.
        with keras.name_scope(self.name):
            net = NETS[kind](side, weights, load)
        self.net = net.model
        self.begun = len(net.stages) if begun is None else begun
        self._normalise = net.normalise
        self.levels = levels
        left = len(net.stages) - self.begun
        most = left + 1 if left else len(net.stages)  # what is begun keeps its last stage alone
        if levels > most:
            raise CaptionerError(
                f"model.levels={levels}: {TITLES[kind]} with its first {self.begun} stages begun "
                f"has {most}"
            )
        last = grids.beside([net.stages[-1 - level] for level in range(levels)])
        kept = net.stages[self.begun - 1] if left else last
        _, self.rows, self.columns, self.width = last.shape
        self._whole = _run(net.given, last)
        self._begin = _run(net.given, kept)
        self._finish = _run(kept, last) if left else None
        self._kept = kept.shape[1:]
        self.built = True

    def folded(self, stages: int | None = None, precision: str = "float32") -> Folded:
        """Its first stages (by default all) as they are now, without batch norms and quicker where
        it has any: for weights that are not trained any more. Its arguments are those of
        `FoldedResNet50`.

        Raises:
            CaptionerError: a precision that it doesn't have.
        """
        whole = stages is None or stages == self.begun and self._finish is None
        levels = self.levels if whole else 1
        if self.kind == "resnet50":
            return FoldedResNet50(self.net, stages or len(STAGES), precision, levels)
        if precision != "float32":
            raise CaptionerError(
                f"{TITLES[self.kind]} computes in float32: {precision} is for ResNet50"
            )
        if self.kind == "efficientnet_lite0":
            return FoldedLite0(self.net, stages or len(LITE0), levels)
        return Unfolded(self, whole=stages is None)

    def digest(self) -> str:
        """SHA-256 of the weights as they are: 64 hexadecimal digits."""
        total = hashlib.sha256()
        for variable in self.net.variables:
            total.update(f"{variable.shape}".encode() + variable.numpy().tobytes())
        return total.hexdigest()

    @property
    def regions(self) -> int:
        """R = rows * columns."""
        return self.rows * self.columns

    @property
    def begun_shape(self) -> tuple[int, int]:
        """r, d: places and channels of what `begin` gives."""
        rows, columns, channels = self._kept
        return rows * columns, channels

    def begin(self, pixels):
        """uint8 [B, H, W, 3] -> float [B, r, d]: the first stages, for `call` to go on from."""
        return tf.reshape(self._begin(self._normalise(pixels)), [-1, *self.begun_shape])

    def call(self, images):
        """uint8 [B, H, W, 3] pixels, or what `begin` made of them -> float [B, R, D].

        What is known to have D channels, and not to be the regions of an earlier stage, is given
        back."""
        if len(images.shape) == 4:
            grid = self._whole(self._normalise(images))
        elif self._finish is None or (
            images.shape[-1] == self.width and images.shape[1] in (None, self.regions)
        ):
            return images
        else:
            grid = tf.cast(images, self.compute_dtype)
            grid = self._finish(tf.reshape(grid, [-1, *self._kept]))
        return tf.reshape(grid, [-1, self.regions, self.width])


class Unfolded(Folded):
    """An image encoder as it is, for those who take a `FoldedResNet50`.

    Args:
        encoder: with variables that are not trained any more.
        whole: bool. All of it, or what its `begin` computes.
    """

    def __init__(self, encoder: ImageEncoder, whole: bool):
        super().__init__(name=encoder.kind)
        # Out of sight of tf.Module, which would save the Keras parts besides.
        self._run = (lambda pixels: encoder(pixels)) if whole else encoder.begin
        self._kept = [variable.value for variable in encoder.net.variables]

    def encode(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._run(pixels), tf.float32)


def _run(inputs, outputs) -> Callable[[tf.Tensor], tf.Tensor]:
    """The part of a net between two of its tensors, as a function: its layers stay the net's, which
    has them tracked and saved."""
    part = keras.Model(inputs, outputs)

    def run(images):
        count = tf.shape(images)[0]
        # A replica's share may hold no image, and the CPU's convolutions fail on none.
        spare = tf.cast(count == 0, tf.int32)
        images = tf.pad(images, [[0, spare], [0, 0], [0, 0], [0, 0]])
        return part(images, training=False)[:count]

    return run


class TextEncoder(keras.layers.Layer):
    """A BERT (Devlin et al., 2019) from TensorFlow Hub.

    `hub.KerasLayer` belongs to Keras 2, and in a Keras 3 model its weights are neither trained nor
    saved. This layer loads the same SavedModel and registers each of its variables as its own,
    sharing the storage.

    Old handles (a list in, a tuple out) and new ones (dictionaries) both work.

    Args:
        handle: str or path. A Hub handle or a folder, as `hub.load` takes it.
        trainable: bool. Fine-tune; only then is its dropout on in training.
    """

    def __init__(self, handle: str | Path, trainable: bool = False, **kwargs):
        super().__init__(trainable=trainable, **kwargs)
        import tensorflow_hub as hub

        self.folder = Path(handle)
        self.hub = hub.load(str(handle))
        learned = {id(variable) for variable in self.hub.trainable_variables}
        for index, variable in enumerate(self.hub.variables):
            self._register(variable, f"bert_{index}", id(variable) in learned)
        self.width = self._probe()
        self.built = True

    def _probe(self) -> int:
        """D, read off a traced graph: in a strategy's scope the encoder can't be run."""
        pieces = tf.TensorSpec([None, None], tf.int32)
        inputs = dict.fromkeys(BERT_INPUTS, pieces)
        traced = tf.function(lambda given: self.call(given)[1], autograph=False)
        return int(traced.get_concrete_function(inputs).output_shapes[-1])

    def _register(self, variable: tf.Variable, name: str, learned: bool) -> None:
        """A Keras variable over the Hub's own storage."""
        mine = self.add_weight(
            shape=variable.shape, dtype=variable.dtype.name, name=name, trainable=learned,
            initializer="zeros",
        )
        mine._value = variable  # noqa: SLF001 - Keras has no public way to adopt a tf.Variable

    @property
    def vocabulary_file(self) -> Path:
        """The encoder's vocab.txt."""
        return Path(self.hub.vocab_file.asset_path.numpy().decode())

    @property
    def lower_case(self) -> bool:
        """Whether the encoder is uncased."""
        return bool(self.hub.do_lower_case.numpy())

    def call(self, inputs, training=False):
        """{input_word_ids, input_mask, input_type_ids} int32 [B, P] -> float32 [B, P, D], [B, D]:
        sequence and pooled output. Where these are among the inputs (`READ`), they are given back;
        what else there is is ignored."""
        if READ[0] in inputs:
            return tuple(tf.cast(inputs[name], tf.float32) for name in READ)
        training = bool(training) and self.trainable
        inputs = {name: inputs[name] for name in BERT_INPUTS}
        try:
            out = self.hub(inputs, training=training)
        except (TypeError, ValueError):
            out = self.hub(list(inputs.values()), training=training)
        if isinstance(out, dict):
            return out["sequence_output"], out["pooled_output"]
        pooled, sequence = out
        return sequence, pooled
