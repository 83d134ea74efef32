"""Several heads on the same encoders: captions, two towers, and matching.

Legend: N images, R regions, D image encoder width, B texts, P pieces, S text encoder width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from captioner.config import Settings
from captioner.inputs.wordpiece import READ
from captioner.models import build as parts
from captioner.models import matching, towers
from captioner.models.captioner import Captioner
from captioner.models.matching import Matching
from captioner.models.towers import Towers


class Joint(keras.Model):
    """A captioner, two towers and a model of matching that have their encoders in common, the same
    objects, and their sentence head where there is one.

    What `see` and `read` make of images and texts all of them take in the place of these.

    Args:
        captioner: has both encoders.
        towers: on the same encoders.
        matching: likewise.
        rate: float. The rate of the last two as a share of the captioner's. Defaults to 1.
        **kwargs: as every `keras.Model` takes them.
    """

    def __init__(
        self,
        captioner: Captioner,
        towers: Towers,
        matching: Matching,
        rate: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._rate = rate
        self.captioner = captioner
        self.towers = towers
        self.matching = matching
        self.image_encoder = captioner.image_encoder
        self.text_encoder = captioner.text_encoder
        self.built = True

    @property
    def rates(self) -> dict[str, float]:
        """Shares of the rate, by what the names of variables begin with (`Optimisation`)."""
        return dict.fromkeys(("contrastive/", "matching/"), self._rate)

    def see(self, images):
        """uint8 [N, H, W, 3] pixels, or what the image encoder made of them -> [N, R, D]."""
        return self.image_encoder(images)

    def read(self, inputs, training: bool = False):
        """{input_word_ids, input_mask, input_type_ids} int32 [B, P] -> the same, with what the text
        encoder makes of them, so that no head asks it again."""
        return inputs | dict(zip(READ, self.text_encoder(inputs, training=training), strict=True))


@dataclass(frozen=True)
class Built:
    """The model, and its heads with what belongs to each, as their own tasks build them."""

    model: Joint
    caption: parts.Built
    contrastive: towers.Built
    matching: matching.Built


def build(settings: Settings, vocabulary: Sequence[str], load: bool = True) -> Built:
    """Builds the model that the settings describe. Heads that have no weight in the loss are not
    trainable.

    The captioner's variables have the names that they have in a captioner, those of the others
    begin with `contrastive/` and `matching/`; the encoders' are there once.

    Args:
        settings: the run's.
        vocabulary: the decoder's pieces.
        load: whether to start from pretrained weights; False where a checkpoint is about to be
            restored.

    Raises:
        CaptionerError: there is no text encoder, or a pretrained part can't be had.
    """
    images, texts = parts.encoders(settings, load)
    caption = parts.over(settings, vocabulary, images, texts, load)
    dropout = settings.joint.dropout
    own = settings.model.model_copy(update={"dropout": dropout, "feature_dropout": dropout})
    others = settings.model_copy(update={"model": own})
    with keras.name_scope("contrastive"):
        embeds = towers.over(others, images, texts)
    with keras.name_scope("matching"):
        judges = matching.over(others, images, texts, caption.model.sentence_head)
    heads = {"caption": caption.model, "contrastive": embeds, "matching": judges}
    shared = {id(one) for one in (*images.variables, *texts.variables)}
    for name, weight in settings.joint.weights.items():
        for variable in heads[name].variables:
            if not weight and id(variable) not in shared:
                variable.trainable = False
    tokenizer = caption.prompt_tokenizer
    return Built(
        Joint(*heads.values(), settings.joint.rate, name="joint"),
        caption,
        towers.Built(embeds, tokenizer),
        matching.Built(judges, tokenizer),
    )
