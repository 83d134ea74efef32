"""Contrastive objectives: what belongs together is nearer than what doesn't.

Every image of the step is compared with every caption of it, whatever replica they are on, so two
replicas learn what one would. Captions of an image are right for it, all of them; an image that a
step shows twice (it has more captions than `train.captions_per_image`) is never held against
itself.

Legend: N images and B captions of a step; n, b those of a replica; E width of the common space.
"""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from captioner.config import Contrastive
from captioner.inputs.wordpiece import BERT_INPUTS, READ
from captioner.learning.objectives import Losses

_FAR = -1e9


def objective(settings: Contrastive) -> Callable[..., Losses]:
    """The objective that the settings name: (model, batch, smoothing=, training=) -> `Losses`.

    Losses are sums over captions; `nats` are what each caption's image costs among the images of
    the step, whichever loss is minimised, so that losses compare.
    """
    if settings.loss == "triplet":
        semi_hard = settings.negatives == "semi-hard"
        loss = partial(triplet, margin=settings.margin, semi_hard=semi_hard)
    else:
        loss = {"softmax": softmax, "sigmoid": sigmoid}[settings.loss]
    return partial(_step, loss)


def _step(loss, model, batch, *, smoothing: float = 0.0, training: bool = True) -> Losses:
    """Embeds a replica's share of the step, gathers the others', and sums the loss of its own.

    A caption's terms belong to its replica: they need all images for one direction and all captions
    for the other. Labels aren't smoothed: `smoothing` is not for objectives that compare.
    """
    inputs = {name: batch[name] for name in (*BERT_INPUTS, *READ) if name in batch}
    images, texts = model(inputs | {"image": batch["image"]}, training=training)
    mine = batch["image_rows"]  # [b] of n
    shown = batch["position"]  # [n]: which image of the data set
    own = tf.gather(images, mine)  # [b, E]
    all_images, all_shown = gather(images), gather(shown)
    all_texts, all_about = gather(texts), gather(tf.gather(shown, mine))
    about = tf.gather(shown, mine)
    right = tf.reduce_sum(own * texts, axis=-1)  # [b]
    # Wrong ones, in both directions: other images for a caption, others' captions for its image.
    to_images = tf.matmul(texts, all_images, transpose_b=True)  # [b, N]
    to_texts = tf.matmul(own, all_texts, transpose_b=True)  # [b, B]
    wrong_images = about[:, None] != all_shown[None]
    wrong_texts = about[:, None] != all_about[None]
    given = (right, (to_images, wrong_images), (to_texts, wrong_texts))
    terms = loss(model, *given)
    nats = _cross_entropy(model.scale * right, model.scale * to_images, wrong_images)
    count = tf.cast(tf.shape(texts)[0], tf.float32)
    return Losses(tf.reduce_sum(terms), count, tf.reduce_sum(nats), count)


def softmax(model, right, *wrong):
    """Half the cross-entropy of a caption's image among all, half that of the caption for its image
    among the captions of the others (Radford et al., 2021, figure 3): float32 [b], nats.

    Args:
        model: its `scale`.
        right: float32 [b]. Similarity of each caption with its image.
        *wrong: pairs of similarities [b, …] and which of them are wrong ones.
    """
    scale = model.scale
    both = [_cross_entropy(scale * right, scale * all_, where) for all_, where in wrong]
    return tf.add_n(both) / len(both)


def _cross_entropy(right, similar, wrong):
    """-log of the right one's share beside the wrong ones."""
    others = tf.where(wrong, similar, _FAR)
    whole = tf.reduce_logsumexp(tf.concat([right[:, None], others], axis=1), axis=1)
    return whole - right


def sigmoid(model, right, to_images, _):
    """Each pair of a caption and an image judged by itself (Zhai et al., 2023, equation 1), summed
    over the images: float32 [b], nats. Every pair is there once, so one direction is all."""
    similar, wrong = to_images
    scale, bias = model.scale, tf.convert_to_tensor(model.bias)
    each = tf.where(wrong, tf.nn.softplus(scale * similar + bias), 0.0)
    return tf.nn.softplus(-(scale * right + bias)) + tf.reduce_sum(each, axis=1)


def triplet(model, right, *wrong, margin: float, semi_hard: bool):
    """By how much the wrong one comes closer than the margin allows, in both directions: float32
    [b] of cosine similarity.

    The wrong one is the nearest (Faghri et al., 2018, equation 6) or, semi-hard, the nearest of
    those farther away than the right one, and the farthest where none is (Schroff et al., 2015).
    """
    total = 0.0
    for similar, where in wrong:
        taken = tf.reduce_max(tf.where(where, similar, _FAR), axis=1)
        if semi_hard:
            below = where & (similar < right[:, None])
            nearest = tf.reduce_max(tf.where(below, similar, _FAR), axis=1)
            farthest = tf.reduce_min(tf.where(where, similar, -_FAR), axis=1)
            taken = tf.where(tf.reduce_any(below, axis=1), nearest, farthest)
        # With nothing wrong in the step there is nothing to learn.
        there = tf.reduce_any(where, axis=1)
        total += tf.where(there, tf.nn.relu(margin - right + tf.where(there, taken, 0.0)), 0.0)
    return total


def gather(rows):
    """A replica's rows [n, …] -> those of all replicas [N, …], in their order, differentiable:
    what each replica's loss says of a row is summed and goes back to where the row came from."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return rows
    count = tf.shape(rows)[0]
    counts = context.all_gather(count[None], axis=0)
    # A sum over replicas of tables in which each has filled its own rows: `all_gather` is not
    # differentiated alike by every strategy.
    replica = context.replica_id_in_sync_group
    begin = tf.reduce_sum(counts[:replica])
    whole = tf.reduce_sum(counts)

    @tf.custom_gradient
    def gathered(mine):
        padding = [[begin, whole - begin - count]] + [[0, 0]] * (len(mine.shape) - 1)
        table = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.pad(mine, padding))

        def back(of_table):
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, of_table)
            return summed[begin : begin + count]

        return table, back

    return gathered(rows)
