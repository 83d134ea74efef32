"""The graphs that are served of models with a prompt for every image, questions above all: the
captioner's signatures.

Several questions are asked of one image, and then its file is there as often in a batch; such
images are decoded and encoded once.

Legend: B batch, N different images, K answers asked for, A answers there are, T tokens, H, W rows
and columns of the image grid.
"""

import tensorflow as tf

from captioner.config import Decode
from captioner.models.build import Built
from captioner.serving.contract import NOTHING
from captioner.serving.signatures import Functions


class SharedImages(Functions):
    """As `Functions`; what is in a batch more than once is looked at once."""

    def look(self, image_bytes):
        different, rows = tf.unique(image_bytes)
        features, errors, _ = super().look(different)
        return features, tf.gather(errors, rows), rows


class ChosenAnswers(SharedImages):
    """Of a model whose decoder is an `AnswerHead`: a caption is an answer, and its only token.
    `decode.beams` answers are given, as far as there are so many, and no search is made."""

    def check(self, built: Built, decode: Decode) -> None:
        """Nothing can be asked of answers but how many."""

    def caption_beams(self, image_bytes, prompt):
        """Images and questions [B] to the K likeliest answers; the first place of each has the
        answer for its piece, and where in the picture the model looked; the others are padding."""
        answers, log_probs, weights, errors = self._choose(image_bytes, prompt)
        encoder = self.built.model.image_encoder
        beams, tokens = self.decode.beams, self.decode.max_tokens
        there = answers[..., None] != ""  # (B, K, 1)
        maps = tf.where(there, weights[:, None], 0.0)[:, :, None]  # (B, K, 1, H * W)
        maps = tf.pad(maps, [[0, 0], [0, 0], [0, tokens - 1], [0, 0]])
        return {
            "captions": answers,
            "log_probs": log_probs,
            "tokens": tf.pad(answers[..., None], [[0, 0], [0, 0], [0, tokens - 1]]),
            "attention": tf.reshape(maps, [-1, beams, tokens, encoder.rows, encoder.columns]),
            "error": errors,
        }

    def _best(self, image_bytes, prompt):
        answers, log_probs, _, errors = self._choose(image_bytes, prompt)
        return {"caption": answers[:, 0], "log_prob": log_probs[:, 0], "error": errors}

    def _choose(self, image_bytes, prompt):
        """Answers [B, K], the likeliest first, log-probabilities [B, K] in nats, attention
        [B, H * W] and errors [B]; empty answers where an image can't be read or there is none."""
        asked = tf.size(image_bytes)
        _, prompt, features, errors, rows = self._read(image_bytes, prompt)
        most = len(self.built.answers)
        logits, weights = self.built.model.decoder(self.encode(features, rows, prompt))
        count = min(self.decode.beams, most)
        log_probs, chosen = tf.math.top_k(tf.nn.log_softmax(logits), count)
        missing = [[0, 0], [0, self.decode.beams - count]]
        answers = tf.pad(tf.gather(tf.constant(self.built.answers), chosen), missing)
        log_probs = tf.pad(log_probs, missing, constant_values=NOTHING)
        read = (errors == "")[:, None]
        answers, log_probs = tf.where(read, answers, ""), tf.where(read, log_probs, 0.0)
        return tuple(one[:asked] for one in (answers, log_probs, weights, errors))
