"""The graph that is served of several heads on the same encoders: captions, embeddings and
judgements of image files."""

from types import SimpleNamespace

from captioner.config import Decode
from captioner.models.joint import Built
from captioner.serving import matching, signatures, towers
from captioner.serving.contract import JOINT_SIGNATURES
from captioner.serving.folding import folded, looking, reading
from captioner.serving.served import Served


class ServedJoint(Served):
    """The signatures of all heads; what looks at images and what reads texts is saved once.

    Args:
        built: the model and its tokenizers.
        decode: how captions are searched; constants of the graph.
        side: int. Pixels of the square that images are resized to.
        storage: what matrices are stored in when this is saved, one of `compact.STORAGES`.
        precision: what the image encoder's convolutions compute in, one of `folded.PRECISIONS`.

    Raises:
        CaptionerError: words that can't be required, or forbidden.
    """

    def __init__(
        self,
        built: Built,
        decode: Decode,
        side: int,
        storage: str = "float32",
        precision: str = "float32",
    ):
        encoder, variables = folded(built.model, precision)
        if built.caption.model.neighbours is not None:
            variables += built.caption.model.neighbours.variables
        tokenizers = [built.caption.tokenizer, built.caption.prompt_tokenizer]
        look, read = looking(encoder, side), reading(tokenizers[1])
        parts = (
            matching.Functions(built.matching.model, look, read),
            towers.Functions(built.contrastive.model, look, read),
            # The last, because `serving_default` captions.
            signatures.Functions(built.caption, look, decode),
        )
        found = {name: one for part in parts for name, one in part.functions.items()}
        functions = {name: found[name] for name in JOINT_SIGNATURES}
        hidden = SimpleNamespace(functions=functions, parts=parts)  # whose methods they are
        super().__init__(hidden, variables, tokenizers, storage)
