"""Settings of single tasks; ignored by the others. See `sections`."""

from typing import Any, Literal

import pydantic
from pydantic import Field

from captioner.config.section import Section


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

    negatives: Literal["hardest", "semi-hard"] = "hardest"
    """Which wrong one triplet takes: the nearest, or the nearest that is farther than the right one
    (Schroff et al., 2015; if there is none, the farthest)."""

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
