"""Settings of single tasks; ignored by the others. See `sections`."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from captioner.config.section import Section

Widths = tuple[Annotated[int, Field(ge=1, le=4096)], ...]


class Contrastive(Section):
    """Two towers, one for images and one for texts, in one space (task `contrastive`)."""

    start: Literal["sentences", "random"] = "sentences"
    """How the projections begin. sentences: the text's as the text encoder's own sentence
    embeddings, and the image's as the linear map there that fits the training images best (ridge
    regression; needs data.cache_features and the whole image encoder frozen). random: as Keras
    begins every layer."""

    width: int = Field(default=256, ge=1, le=4096)
    """Width of the common space. Ignored with start=sentences, which has the text encoder's."""

    loss: Literal["softmax", "sigmoid", "triplet"] = "softmax"
    """softmax: each caption finds its image in the batch, and each image its caption (Radford et
    al., 2021); sigmoid: each pair is right or wrong by itself (Zhai et al., 2023); triplet: what is
    right is nearer than the nearest that is wrong, by a margin (Faghri et al., 2018)."""

    temperature: float = Field(default=0.07, ge=0.01, le=1)
    """What similarities are divided by, at the beginning: it is learned. Ignored by triplet."""

    negatives: Literal["hardest", "semi-hard"] = "semi-hard"
    """Which wrong one triplet takes: the nearest, or the nearest that is farther than the right one
    (Schroff et al., 2015; if there is none, the farthest). With the nearest, all embeddings
    may become nearly one: trained on 700 photographs, those of images did (a mean cosine of 0.96,
    semi-hard 0.03), and found their caption first in 0.26 of cases (semi-hard 0.48)."""

    margin: float = Field(default=0.2, gt=0, le=2)
    """By how much of cosine similarity triplet wants the right one to be nearer."""


class Classify(Section):
    """One of several classes for an image (task `classify`)."""

    top: int = Field(default=5, ge=1, le=1000)
    """How many classes are given of an image, the most probable first; at most all there are."""

    templates: tuple[str, ...] = ("a photo of a {}",)
    """What two towers (task `contrastive`) are told of a class that they are to recognise by its
    name alone, which {} stands for; the mean of several. On the command line a text, or a JSON
    list."""

    @pydantic.field_validator("templates", mode="before")
    @classmethod
    def _one(cls, templates: Any) -> Any:
        """A text is the only one."""
        return (templates,) if isinstance(templates, str) else templates

    @pydantic.field_validator("templates")
    @classmethod
    def _holds_a_name(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [one for one in templates if "{}" not in one]
        if wrong or not templates:
            raise ValueError("each must say where the class's name goes, as a photo of a {}")
        return templates


class Matching(Section):
    """Whether a sentence describes an image (task `matching`)."""

    fusion: Literal["concatenation", "product", "sum", "attention"] = "product"
    """How image and text become one vector. concatenation: one beside the other; product: entry by
    entry; sum: with a learned weight for each entry; attention: product, once the text's pieces
    have asked the image's regions (model.units wide, with model.heads heads) and what they found
    is added to the image."""

    start: Literal["sentences", "random"] = "sentences"
    """What is joined. sentences: the text's sentence embedding, and what sentence would describe
    the image, by the linear map that contrastive.start=sentences begins with; training shows each
    image through the map of all the others (needs data.cache_features and the whole image encoder
    frozen). random: the text's embedding and the mean region, in a space of matching.width. Either
    is projected linearly, and the projections are trained."""

    width: int = Field(default=256, ge=1, le=4096)
    """Width of what is joined. Ignored with start=sentences, which has the text encoder's."""

    layers: Widths = (128, 64, 32)
    """Dense layers on what was joined: JSON on the command line, [] for none."""

    head: Widths = (512, 256, 128)
    """Dense layers of the head, before the one number of which the sigmoid is taken; [] for that
    number alone."""

    negatives: int = Field(default=1, ge=1, le=64)
    """Wrong images for each caption of a step; together they count as much as the right one."""

    mined: float = Field(default=0.5, ge=0, le=1)
    """The share of wrong images that is drawn among the `hardest`; the others are drawn among those
    of the step. Above 0 it needs data.cache_features and the whole image encoder frozen."""

    hardest: int = Field(default=20, ge=1, le=1000)
    """How many wrong images of a caption count as hard: the nearest in the retrieval model that
    start=sentences describes."""


class Joint(Section):
    """Captioning, contrastive learning and matching in one run, on the same encoders (task
    `joint`; `contrastive` and `matching` have the settings of these heads).

    A step's loss is alpha · captioning + beta · (contrastive · contrastive learning + matching ·
    matching), each the mean over what it counts (tokens, captions, pairs). A weight of 0 leaves a
    part out: it isn't computed, and its head stays as it began. Between parts that share nothing
    trainable, as while both encoders are frozen, other weights hardly matter: AdamW takes out the
    size of gradients again."""

    alpha: float = Field(default=1.0, ge=0)
    """Weight of captioning, the text's side."""

    beta: float = Field(default=1.0, ge=0)
    """Weight of what compares images with texts, the vision side: of both that follow together."""

    contrastive: float = Field(default=1.0, ge=0)
    """Weight of contrastive learning within beta."""

    matching: float = Field(default=1.0, ge=0)
    """Weight of matching within beta."""

    rate: float = Field(default=0.25, gt=0, le=1)
    """The rate of the contrastive and the matching head as a share of train.learning_rate: the
    captioner begins at random, and these where a closed form puts them."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout of the contrastive and the matching head, in the place of model.dropout and
    model.feature_dropout, which are the captioner's."""

    @property
    def weights(self) -> dict[str, float]:
        """Of each part in the loss, by its task's name."""
        return {
            "caption": self.alpha,
            "contrastive": self.beta * self.contrastive,
            "matching": self.beta * self.matching,
        }

    @pydantic.model_validator(mode="after")
    def _trains_something(self) -> "Joint":
        if not any(self.weights.values()):
            raise ValueError(
                "joint.alpha, or joint.beta with joint.contrastive or joint.matching, must be more "
                "than 0: nothing would be trained"
            )
        return self
