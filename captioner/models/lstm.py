"""A long short-term memory layer, quick on a CPU.

Keras's LSTM multiplies every time step's input by the kernel inside its loop, and differentiating
that loop adds a gradient of the kernels' size at every step. Here the input's product is taken for
all steps at once, and the gradient of the recurrent kernel too, after the backward loop. Rows of
different lengths are packed (`captioner.models.packing`): a step computes the rows that have it.

Legend: B batch, T time steps, S steps of all rows together, N inputs that differ, D input width,
U units.
"""

import keras
import tensorflow as tf

from captioner.models.packing import Packing


def _gates(z, c):
    """Four pre-activations and the cell, [B, U] each, to (i, f, g, o, new c)."""
    i, f, g, o = z
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    return i, f, g, o, f * c + i * g


@tf.custom_gradient
def recurrence(inputs, told, kernel, h0, c0, sizes, ranks):
    """The recurrent part over all time steps.

    Args:
        inputs: [S, 4U], packed. The inputs' share of the pre-activations.
        told: [B, 4U], longest row first. What is added to a row's at every step; the bias, say.
        kernel: [U, 4U]. The recurrent kernel.
        h0: [B, U], longest row first. c0: [B, U].
        sizes: int32 [T]. How many rows have a first step, a second, …
        ranks: int32 [S]. The row of each packed step, counted from the longest.

    Returns:
        h of every step, [S, U], packed.
    """
    steps = tf.shape(sizes)[0]
    ends = tf.cumsum(sizes)
    starts = ends - sizes
    dtype, units = inputs.dtype, h0.shape[-1]

    def array():
        shape = tf.TensorShape([None, None])
        return tf.TensorArray(dtype, steps, infer_shape=False, element_shape=shape)

    # Each gate's by itself: rows of 4U floats lie a power of two apart, of which a processor's
    # cache holds few, and a product with them takes half as long again.
    parts = list(zip(*(tf.split(one, 4, -1) for one in (inputs, told, kernel)), strict=True))

    def forward(t, h, c, *kept):
        size = sizes[t]  # the rows that end here are the last ones
        h = h[:size]
        i, f, g, o, c = _gates(
            [heard[starts[t] : ends[t]] + same[:size] + tf.matmul(h, own)
             for heard, same, own in parts], c[:size],
        )  # fmt: skip
        h = o * tf.tanh(c)
        made = (h, c, i, f, g, o)
        return t + 1, h, c, *(one.write(t, new) for one, new in zip(kept, made, strict=True))

    state = tf.TensorShape([None, units])
    loop = (0, h0, c0, *(array() for _ in range(6)))
    shapes = (tf.TensorShape([]), state, state, *[tf.TensorShape(None)] * 6)
    _, _, _, *kept = tf.while_loop(lambda t, *_: t < steps, forward, loop, shapes)
    hs, cs, i, f, g, o = (tf.ensure_shape(one.concat(), [None, units]) for one in kept)

    def gradient(upstream):
        upstream = tf.convert_to_tensor(upstream)  # of a gather, it comes in slices
        # Where in [the first state, those of each step] a step's own begins that it came from.
        begins = tf.concat([[0], tf.shape(h0)[:1] + starts[:-1]], 0)
        before = tf.repeat(begins, sizes) + ranks
        h_before = tf.gather(tf.concat([h0, hs], 0), before)
        c_before = tf.gather(tf.concat([c0, cs], 0), before)
        # All that doesn't wait for the next step, for all steps at once.
        cell = tf.tanh(cs)
        slope_i, slope_f, slope_g = g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g)
        slope_o = cell * o * (1 - o)
        through = o * (1 - cell * cell)
        back = tf.transpose(kernel)  # once, and not in each product

        def backward(t, dh, dc, dtold, dzs):
            here = slice(starts[t], ends[t])
            # Rows that end with this step have nothing to bring back from the next.
            new = [[0, sizes[t] - tf.shape(dh)[0]], [0, 0]]
            dh = tf.pad(dh, new) + upstream[here]
            dc = tf.pad(dc, new) + dh * through[here]
            by_c = [dc * slope[here] for slope in (slope_i, slope_f, slope_g)]
            dz = tf.concat([*by_c, dh * slope_o[here]], -1)
            dtold = tf.pad(dtold, new) + dz
            return t - 1, tf.matmul(dz, back), dc * f[here], dtold, dzs.write(t, dz)

        none, nothing = tf.zeros([0, units], dtype), tf.zeros([0, 4 * units], dtype)
        loop = (steps - 1, none, none, nothing, array())
        wide = tf.TensorShape([None, 4 * units])
        shapes = (tf.TensorShape([]), state, state, wide, tf.TensorShape(None))
        _, *begins_with, dzs = tf.while_loop(lambda t, *_: t >= 0, backward, loop, shapes)
        dz = tf.ensure_shape(dzs.concat(), [None, 4 * units])
        # (S, U)ᵀ x (S, 4U) -> (U, 4U): every step's share in one product
        dkernel = tf.matmul(h_before, dz, transpose_a=True)
        # Rows without any step have no share.
        rest = [[0, tf.shape(h0)[0] - tf.shape(begins_with[0])[0]], [0, 0]]
        dh, dc, dtold = (tf.pad(one, rest) for one in begins_with)
        return dz, dtold, dkernel, dh, dc, None, None

    return hs, gradient


@keras.saving.register_keras_serializable("captioner")
class LSTM(keras.layers.Layer):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gates after Gers et al.,
    2000, biased to remember). The same figures as `keras.layers.LSTM`, and the same weights.

    Args:
        units: int. U.
        **kwargs: as every `keras.layers.Layer` takes them.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        units = self.units
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * units), initializer="glorot_uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(units, 4 * units), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(4 * units,), initializer="zeros", name="bias")
        self.bias.assign(tf.concat([tf.zeros(units), tf.ones(units), tf.zeros(2 * units)], 0))
        self.built = True

    def call(self, inputs, h, c):
        """[B, T, D] and the state before, [B, U] each -> h of every step, [B, T, U]."""
        batch, steps, width = tf.unstack(tf.shape(inputs))
        # Where all rows are of one length, packed is the same as time before batch.
        packed = tf.reshape(tf.transpose(inputs, [1, 0, 2]), [-1, width])
        kernel, bias, recurrent = self._weights()
        sizes, ranks = tf.fill([steps], batch), tf.tile(tf.range(batch), [steps])
        told = tf.broadcast_to(bias, [batch, 4 * self.units])
        found = recurrence(tf.matmul(packed, kernel), told, recurrent, h, c, sizes, ranks)
        return tf.transpose(tf.reshape(found, [steps, batch, self.units]), [1, 0, 2])

    def read(self, inputs, h, c, packing: Packing, *, places=None, told=None):
        """Rows of different lengths.

        Args:
            inputs: [S, D], packed; with places [N, D], of which several steps may share one.
            h: [B, U]. The state before; c: [B, U] too.
            packing: of the rows.
            places: int32 [S] or None. Which of the inputs each packed step reads.
            told: [B, E] or None. What a row hears at every step beside its inputs, whose width is
                then D - E.

        Returns:
            h of every step, [S, U], packed.
        """
        kernel, bias, recurrent = self._weights()
        every = tf.broadcast_to(bias, [tf.shape(h)[0], 4 * self.units])
        if told is not None:  # its product is the same at every step
            kernel, told_kernel = tf.split(kernel, [inputs.shape[-1], told.shape[-1]])
            every += tf.matmul(told, told_kernel)
        z = tf.matmul(inputs, kernel)
        if places is not None:
            z = tf.gather(z, places)
        every, h, c = (tf.gather(one, packing.order) for one in (every, h, c))
        return recurrence(z, every, recurrent, h, c, packing.sizes, packing.ranks)

    def told(self, told):
        """What rows [B, E] that hear the same at every step get of it: [B, 4U], for `step`."""
        kernel, bias, _ = self._weights()
        return tf.matmul(told, kernel[kernel.shape[0] - told.shape[-1] :]) + bias

    def step(self, inputs, h, c, told=None):
        """One step: [..., D] and the state, [..., U] each -> the new (h, c).

        With `told`, [..., 4U], the inputs are what else there is to hear, [..., D - E]."""
        kernel, bias, recurrent = self._weights()
        if told is not None:
            kernel = kernel[: inputs.shape[-1]]  # of rows that lie together: nothing is copied

        def rows(some):  # of more dimensions, TensorFlow's product takes many times as long
            return tf.reshape(some, [-1, some.shape[-1]])

        z = tf.matmul(rows(inputs), kernel) + tf.matmul(rows(h), recurrent)
        # All places but the first, which is the batch, are known in a search.
        places = [-1, *h.shape[1:-1]] if None not in h.shape[1:] else tf.shape(h)[:-1]
        z = tf.reshape(z, tf.concat([places, [4 * self.units]], 0))
        z += bias if told is None else told
        *_, o, c = _gates(tf.split(z, 4, -1), c)
        return o * tf.tanh(c), c

    def _weights(self):
        """Kernel, bias and recurrent kernel in the type to compute in."""
        weights = (self.kernel, self.bias, self.recurrent_kernel)
        return tuple(tf.cast(one, self.compute_dtype) for one in weights)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
