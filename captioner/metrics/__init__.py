"""Caption scores: BLEU, ROUGE-L, CIDEr, CIDEr-D, and METEOR and SPICE where Java has them.

Pure Python and NumPy, with the official coco-caption figures: `score` for one set of captions,
`Scorer` for many against the same references, `Cider` as a reward in training. `Assessor` says what
else there is to say of captions, `bootstrap` how sure any of it is.
"""

from captioner.metrics.assessment import Assessor
from captioner.metrics.cider import Cider, DocumentFrequencies
from captioner.metrics.scorer import Scorer, score, score_each
from captioner.metrics.tokenizer import tokenize

__all__ = ["Assessor", "Cider", "DocumentFrequencies", "Scorer", "score", "score_each", "tokenize"]
