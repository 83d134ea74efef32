"""Settings of single tasks; ignored by the others. See `sections`."""

from typing import Literal

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
