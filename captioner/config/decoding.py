"""Settings of the search for captions. See `sections`."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from captioner.config.section import Section


class Decode(Section):
    """Captioning. An export has these in its graph."""

    search: Literal["beam", "sample"] = "beam"
    """beam: the captions that score highest; sample: captions drawn as probably as they are."""

    beams: int = Field(default=5, ge=1, le=64)
    """Captions searched, or drawn, at once; 1 is greedy search, or one draw."""

    max_tokens: int = Field(default=24, ge=2, le=256)
    """The longest caption, in WordPieces, the end mark included."""

    min_tokens: int = Field(default=1, ge=1, le=256)
    """The shortest caption, counted alike; at most max_tokens."""

    length_penalty: float = Field(default=1.0, ge=0, le=2)
    """Captions are ordered by log-probability / length ** length_penalty."""

    coverage_penalty: float = Field(default=0.0, ge=0, le=10)
    """Lowers the score of captions that left regions of the picture unlooked at: by this, times
    the sum over the regions of -log(min(attention that the region was paid, 1)). 0 for none;
    there are 49 regions, so values that do something are small, about 0.001 to 0.02."""

    no_repeat: int = Field(default=3, ge=0, le=16)
    """No caption holds the same run of so many WordPieces twice; 0 allows it."""

    evidence: float = Field(default=0.3, ge=0, le=10)
    """How much likelier the nearest captions make the pieces they hold: the weight of log(how much
    more often than usual). Ignored without model.neighbours, like the next two."""

    bigrams: float = Field(default=0.0, ge=0, le=1)
    """How much likelier the nearest captions make what they go on with after a caption's last
    piece: the share of the way, in logarithms, to how often they do, with the model's own
    probabilities for a prior. 0 leaves these as they are."""

    consensus: float = Field(default=8.0, ge=0, le=1000)
    """Nats per token that agreement with the nearest captions is worth when the captions of a beam
    search are put in order; agreement is between 0 and 1, like CIDEr on a scale to 1."""

    no_stutter: bool = False
    """No caption says the same word twice in a row."""

    forbid: tuple[Annotated[str, Field(max_length=64)], ...] = Field(default=(), max_length=32)
    """Words, or phrases, that no caption holds: forbid=dog,ice cream. `man` forbids neither
    `woman` nor `manhole`, and a beginning that the user gives may hold it. Beam search has twice
    the work: what ends in `man` and may yet become `manhole` has beams of its own. Captions that
    are drawn go without both, if `man` is the first piece of `manhole`."""

    require: tuple[Annotated[str, Field(max_length=64)], ...] = Field(default=(), max_length=8)
    """Words, or phrases, that every caption holds: require=dog,red ball. Where a beginning leaves
    too little room for all of them, as many as there is room for. Not with sample. Beam search has
    (1 + their WordPieces) times the work."""

    groups: int = Field(default=1, ge=1, le=64)
    """Groups of beams that are to say different things; must divide beams. 1 is plain search.
    Ignored by sample."""

    diversity: float = Field(default=0.5, ge=0, le=100)
    """Nats that a token costs a group for each beam of the groups before it that says the same at
    the same place. Ignored without groups."""

    temperature: float = Field(default=1.0, ge=0.01, le=100)
    """Log-probabilities are divided by it before a token is drawn: below 1 draws more of what is
    probable. Ignored by beam, like the three below."""

    top_k: int = Field(default=0, ge=0)
    """Draw from so many of the most probable tokens; 0 for all."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the most probable tokens that together have this probability (of what top_k
    leaves)."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seeds the drawing, together with the image file and the prompt: the same request to the same
    export has the same captions."""

    @pydantic.field_validator("forbid", "require", mode="before")
    @classmethod
    def _words(cls, words: Any) -> Any:
        """`dog,ice cream` on a command line."""
        if isinstance(words, str):
            words = words.split(",")
        if not isinstance(words, list | tuple):
            return words
        stripped = (word.strip() if isinstance(word, str) else word for word in words)
        return tuple(word for word in stripped if word != "")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Decode":
        if self.beams % self.groups:
            raise ValueError(f"decode.groups={self.groups} must divide decode.beams={self.beams}")
        if self.min_tokens > self.max_tokens:
            raise ValueError(
                f"decode.min_tokens={self.min_tokens} is above decode.max_tokens={self.max_tokens}"
            )
        if self.require and self.search == "sample":
            raise ValueError("decode.require needs decode.search=beam: a draw can't be aimed")
        return self
