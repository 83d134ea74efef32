"""All caption scores of a set of captions, against references that are tokenised once."""

from collections.abc import Mapping, Sequence

import numpy as np

from captioner.errors import CaptionerError
from captioner.metrics import java as java_scores
from captioner.metrics.bleu import Bleu
from captioner.metrics.cider import Cider, DocumentFrequencies
from captioner.metrics.measures import Measures
from captioner.metrics.rouge import rouge_l
from captioner.metrics.tokenizer import tokenize


class Scorer:
    """Scores captions of a fixed set of images, say once an epoch.

    Figures are those of the official coco-caption scorers, tokeniser included, on their scale: all
    0 to 1, CIDEr 0 to 10 (papers print them times 100). Document frequencies are those of the
    references at hand, so CIDEr of small sets compares only with itself: with one image it is 0.

    Args:
        references: for each image's id, its captions as plain text.
        frequencies: DocumentFrequencies. Used for CIDEr_D alone. Defaults to those of the
            references, which makes CIDEr_D equal to CIDEr (see `captioner.metrics.cider`).

    Raises:
        CaptionerError: no references, or an image without any.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        frequencies: DocumentFrequencies | None = None,
    ):
        if not references:
            raise CaptionerError("scores: no references; give each image at least one caption")
        for image, captions in references.items():
            if isinstance(captions, str):
                raise CaptionerError(
                    f"scores: the references of {image!r} are one text; give a list of captions"
                )
        bare = [image for image, captions in references.items() if not captions]
        if bare:
            raise CaptionerError(
                f"scores: no reference captions for {_some(bare)}; add some or leave the image out"
            )
        self.images = tuple(references)
        self._tokens = [[tokenize(text) for text in references[image]] for image in self.images]
        words = [[_words(tokens) for tokens in captions] for captions in self._tokens]
        self._bleu = Bleu(words)
        by_image = dict(zip(self.images, words))
        self._cider = Cider(by_image)
        self._cider_d = Cider(by_image, frequencies) if frequencies else self._cider

    def score(self, captions: Mapping[str, str], *, java: bool = True) -> dict[str, float | None]:
        """The scores of one caption for each of the images.

        Args:
            captions: image id to caption, plain text; an empty caption scores 0.
            java: bool. Whether to try METEOR and SPICE. Defaults to `True`.

        Returns:
            dict with BLEU_1 to BLEU_4 (corpus level), ROUGE_L, CIDEr, CIDEr_D (means over images),
            METEOR and SPICE; the last two are None when their Java programs can't be had.

        Raises:
            CaptionerError: no captions, images without a caption, captions of unknown images.
        """
        tokens = self._tokenized(captions)
        scores: dict[str, float | None] = dict(self._measured(tokens).corpus())
        scores["METEOR"] = scores["SPICE"] = None
        if java:
            texts = [" ".join(caption) for caption in tokens]
            references = [[" ".join(reference) for reference in image] for image in self._tokens]
            scores["METEOR"] = java_scores.meteor(texts, references)
            scores["SPICE"] = java_scores.spice(texts, references)
        return scores

    def score_each(self, captions: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """BLEU_1 to BLEU_4, ROUGE_L, CIDEr and CIDEr_D of each image alone, by its id.

        Arguments and errors are those of `score`. BLEU of one caption is mostly 0 or rough: it was
        made for corpora.
        """
        measures = self.measures(captions)
        return {
            image: dict(zip(measures.names, map(float, figures)))
            for image, figures in zip(self.images, measures.each())
        }

    def measures(self, captions: Mapping[str, str]) -> Measures:
        """The figures of `score`, but for the Java ones, image by image in the order of `images`.

        Arguments and errors are those of `score`.
        """
        return self._measured(self._tokenized(captions))

    def _tokenized(self, captions: Mapping[str, str]) -> list[list[str]]:
        if not captions:
            raise CaptionerError("scores: no captions to score; were any predicted?")
        unknown = [image for image in captions if image not in self._cider]
        if unknown:
            raise CaptionerError(
                f"scores: captions of images without references: {_some(unknown)}; "
                "check the image ids and the split"
            )
        missing = [image for image in self.images if image not in captions]
        if missing:
            raise CaptionerError(
                f"scores: no caption for {_some(missing)}; "
                "caption all images, or give the references of those captioned"
            )
        return [tokenize(captions[image]) for image in self.images]

    def _measured(self, tokens: list[list[str]]) -> Measures:
        words = [_words(caption) for caption in tokens]
        rouge = [rouge_l(caption, image) for caption, image in zip(tokens, self._tokens)]
        pairs = list(zip(self.images, words))
        cider = self._cider.score(pairs)
        cider_d = cider if self._cider_d is self._cider else self._cider_d.score(pairs)
        means = {"ROUGE_L": np.array(rouge), "CIDEr": cider, "CIDEr_D": cider_d}
        once = np.ones(len(words))
        return Measures(
            self._bleu.counts(words), {name: (each, once) for name, each in means.items()}
        )


def score(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, java: bool = True
) -> dict[str, float | None]:
    """Scores captions against references once; see `Scorer` for both, and to score again."""
    return Scorer(references).score(captions, java=java)


def score_each(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """The scores of each image alone; see `Scorer.score_each`."""
    return Scorer(references).score_each(captions)


def _words(tokens: list[str]) -> list[str]:
    """What BLEU and CIDEr count: the official ones split again at all white space, no-break
    spaces within tokens included, while ROUGE-L keeps those tokens whole."""
    return " ".join(tokens).split()


def _some(images: Sequence[str]) -> str:
    """The first few ids, and how many more there are."""
    shown = ", ".join(map(repr, images[:3]))
    return shown if len(images) <= 3 else f"{shown} and {len(images) - 3} more"
