"""The settings: typed, frozen once read, and written whole into every run.

This file is the manual, with `decoding` for the search and `heads` for single tasks. Each
setting's docstring says what it does, its unit or choices, and when it is ignored. The command line
(`--set train.epochs=3`) beats the recipe, the recipe the defaults here. A recipe is a TOML file
with the same sections and keys; `captioner/recipes/` has those that go by name, and `--recipe
my.toml` takes your own.
"""

import re
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import Field

from captioner.config.decoding import Decode
from captioner.config.freezing import frozen_stages, wholly_frozen
from captioner.config.heads import Classify, Contrastive, Joint, Matching
from captioner.config.section import Section


class Data(Section):
    """Where examples come from."""

    spec: str = "demo"
    """The data set: demo, flickr8k:DIR, coco:DIR, karpathy:FILE.json, vqa:DIR, classes:DIR,
    csv:FILE, jsonl:FILE, folder:DIR or tfds:NAME. `--data` sets it."""

    images: Path | None = None
    """The folder that image names are relative to, where the data set's own files don't say."""

    text: Path | None = None
    """A file of captions without images (one a line, or CSV with a `caption` column) that the
    decoder reads before it sees any image."""

    text_epochs: int = Field(default=6, ge=0)
    """How often `text` is read; 0 keeps it for the neighbours (model.neighbours). Ignored without
    it."""

    text_prompts: float = Field(default=0.5, ge=0, le=1)
    """The share of `text` that is given a drawn prompt: without an image there is more to learn
    from it. Ignored without `text`."""

    text_noise: float = Field(default=1.0, ge=0, le=4)
    """How far off its mark `text` is told of: the length of what is added to its sentence
    embedding of length 1. Ignored without `text` or model.sentence_head."""

    folder: Path = Path("data")
    """Where embedded data and caches are kept."""

    cache_features: bool = True
    """Keep what the image encoder's frozen stages give on disk (float16) instead of computing it
    each epoch. Must be false where its first stage is fine-tuned."""

    views: int = Field(default=1, ge=1, le=32)
    """Cached views of each training image: the plain one and views - 1 augmented ones, one of
    which is drawn each epoch. Needs cache_features."""

    augment: bool = False
    """Augment training images anew each epoch. Needs cache_features = false."""

    unreadable_limit: float = Field(default=0.05, ge=0, le=1)
    """The share of images that may be unreadable before training refuses to start."""


class Text(Section):
    """The words."""

    vocabulary: int = Field(default=10_000, ge=50, le=10_000)
    """The most WordPieces the decoder may learn from the training captions."""

    max_prompt: int = Field(default=16, ge=4, le=512)
    """WordPieces of a prompt that the text encoder reads, its two marks included."""

    prompts: float = Field(default=0.3, ge=0, le=1)
    """The share of training captions that are given a drawn prompt (key words of the caption or
    its beginning); the others get an empty one. Ignored where the data brings prompts."""


class Model(Section):
    """The network."""

    image_side: int = Field(default=224, ge=32, le=1024)
    """Side of the square that images are resized to, in pixels."""

    image_encoder: Literal["resnet50", "efficientnet_lite0", "vgg19", "vit"] = "resnet50"
    """What looks at the picture: ResNet50 or VGG19 of keras.applications, EfficientNet-Lite0 (a
    seventh of ResNet50's weights, a quarter of its time), or a ViT of keras-hub (pip install -e
    '.[vit]')."""

    image_weights: str = "imagenet"
    """The image encoder's weights: imagenet, none (random) or a file; of a ViT imagenet, none (a
    random ViT-B/16), or a preset of keras-hub by name or folder, which says how large it is."""

    levels: int = Field(default=1, ge=1, le=3)
    """Of how many of the image encoder's last stages a region consists. The last knows what a
    thing is; the one before it still knows its colour, whatever the thing, and is averaged over the
    region. A ViT has one. With stages that are trained, these and the last that is not can be
    levels."""

    text_encoder: str = "captioner/bert_en_uncased_L-6_H-384_A-12"
    """The BERT that reads prompts: a TensorFlow Hub handle, a local folder, or none."""

    units: int = Field(default=512, ge=1)
    """Width of attention, LSTM and output."""

    heads: int = Field(default=8, ge=1)
    """Heads of the cross-modal attention; must divide units."""

    places: float = Field(default=0.02, gt=0, le=10)
    """How plainly regions say where they are: the standard deviation with which the vectors of
    their places begin, beside 1 of what is seen there. Questions want 0.5: with 0.02, on which side
    a thing is was not learned in ten epochs of 17,000. Captions hardly speak of places."""

    embeddings: Literal["encoder", "random"] = "encoder"
    """Start of the decoder's word embeddings: the text encoder's own, or random."""

    sentence_head: bool = False
    """Whether the decoder hears, beside the regions, what sentence would describe the image: a
    linear map from image features to the text encoder's sentence embeddings, fitted before
    training. With `data.text`, the decoder learns what to say of them from captions without images.
    Needs a text encoder and data.cache_features."""

    neighbours: int = Field(default=0, ge=0, le=1000)
    """How many captions the search asks that are nearest to what the sentence head says, of those
    of training and `data.text` (at most 50,000 are kept, and exported with the model); 0 for none.
    Needs sentence_head."""

    whitening: float = Field(default=0.0, ge=0, le=1)
    """How far the embeddings of `neighbours` are whitened before any are looked for: 0 compares
    them as the text encoder has them, where a few directions outweigh all the others, 1 has all
    directions count alike. A search costs the same. Ignored without neighbours."""

    copying: bool = False
    """Whether the content words of a prompt have scores of their own on their way into the caption,
    so that most are said, and near captions (`neighbours`) are near to what the prompt says, too.
    A question's words are left alone, and an empty prompt means nothing. Needs a text encoder."""

    answers: int = Field(default=0, ge=0, le=100_000)
    """Of the recipe vqa: how many of the most frequent answers to choose among, with a classifier
    in the decoder's place; 0 has the decoder say the answer."""

    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Dropout on words and before the output layer."""

    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that teacher forcing hides from the decoder (as unknown), so that it
    learns to look at the image."""

    feature_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout on image features, before and after their projection."""


class Train(Section):
    """The training loop."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training captions."""

    batch_size: int = Field(default=128, ge=1)
    """Captions per step over all replicas; an image's captions stay together."""

    captions_per_image: int = Field(default=5, ge=1)
    """Captions of an image that one step uses; they share its attention keys. An image with more
    of them appears in several steps of an epoch."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds weights, order, dropout and drawn prompts."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's peak rate."""

    encoder_rate: float = Field(default=0.05, gt=0)
    """The encoders' rate as a share of learning_rate. Ignored while they are frozen."""

    reward_epochs: int = Field(default=0, ge=0)
    """Passes over the training images after that, in which captions that the model draws are
    pushed by what they score (self-critical training). A pass costs less than one of `epochs`. For
    models that search little: twelve passes brought greedy captions from 0.35 to 0.41 CIDEr on 150
    photographs (600 trained on), five beams and near captions nothing."""

    reward_samples: int = Field(default=5, ge=2, le=100)
    """Captions that are drawn of an image at a time."""

    reward_baseline: Literal["others", "greedy"] = "others"
    """What a draw's score is compared with: the image's other draws, or the greedy caption."""

    reward_bleu: float = Field(default=0.0, ge=0)
    """Weight of a caption's BLEU-4 in its score, beside CIDEr-D with a weight of 1."""

    reward_rate: float = Field(default=0.25, gt=0)
    """The rate of those passes as a share of learning_rate."""

    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of all steps over which the rate rises from 0; what `schedule` says follows."""

    schedule: Literal["cosine", "constant", "step", "plateau"] = "cosine"
    """The rate after its rise. cosine: half a cosine down to 0; constant: as it is; step: times
    schedule_factor after every schedule_step; plateau: times schedule_factor after
    schedule_patience validations without a better score."""

    schedule_factor: float = Field(default=0.3, gt=0, lt=1)
    """What the rate is multiplied by when it falls. Ignored but for step and plateau."""

    schedule_step: float = Field(default=0.3, gt=0, lt=1)
    """The share of all steps that lies between two falls. Ignored but for step."""

    schedule_patience: int = Field(default=2, ge=1)
    """Validations without a better score before the rate falls; to be less than patience, after
    which training stops. Without dev images it never falls. Ignored but for plateau."""

    weight_decay: float = Field(default=0.05, ge=0)
    """AdamW's decoupled weight decay; biases and normalisation are left out."""

    clip_norm: float = Field(default=1.0, gt=0)
    """The gradients' largest global norm, after they are summed over the replicas."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target's probability that is spread over the vocabulary."""

    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the moving average of the weights that is evaluated and exported; 0 for none."""

    teacher: Path | None = None
    """A trained run folder to learn from besides the captions (distillation): a smaller model, with
    another image encoder or fewer units, learns what the teacher thinks of each next word. Of the
    same task; its vocabulary is taken over, and model.text_encoder, model.copying and
    text.max_prompt must be its own."""

    distill: float = Field(default=0.5, gt=0, le=1)
    """Weight of what the teacher thinks in the loss; what is left of 1 is that of the captions.
    Ignored without `teacher`, like the next."""

    distill_temperature: float = Field(default=2.0, ge=0.1, le=100)
    """What the logits of both are divided by: above 1, unlikely words count for more."""

    freeze: tuple[str, ...] = ("image_encoder", "text_encoder")
    """Regular expressions: variables whose path starts with one are left as they are. On the
    command line: JSON, train.freeze='["image_encoder/conv[1-4]", "text_encoder"]' to fine-tune the
    last stage of the image encoder alone (without model.sentence_head). VGG19's stages are block1
    to block5."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What the decoder and attention compute in; weights stay float32."""

    patience: int = Field(default=8, ge=1)
    """Validations without a better score (CIDEr, or the task's own) before training stops early.
    Ignored with weights=last."""

    weights: Literal["best", "last"] = "best"
    """Which weights are kept: those that validated best, or the last, without stopping early. Of
    few dev images the best score is a matter of luck, and often falls on an epoch before the rate
    has come down, whose weights are worse on all others."""

    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations (and checkpoints)."""

    validation_images: int = Field(default=500, ge=1)
    """Images of the dev split that a validation captions, the first by hash of their id."""

    keep: int = Field(default=3, ge=2)
    """Checkpoints kept; the best is kept besides."""

    distribution: Literal["auto", "none", "mirrored", "workers"] = "auto"
    """none; mirrored: all local devices; workers: as TF_CONFIG says; auto: workers where TF_CONFIG
    is set, mirrored otherwise."""

    @pydantic.model_validator(mode="after")
    def _falls_before_it_stops(self) -> "Train":
        if self.schedule == "plateau" and self.schedule_patience >= self.patience:
            raise ValueError(
                f"train.schedule_patience={self.schedule_patience} must be less than "
                f"train.patience={self.patience}: training would stop before the rate fell"
            )
        return self

    @pydantic.field_validator("freeze")
    @classmethod
    def _compiles(cls, freeze: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in freeze:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return freeze


class Settings(Section):
    """Everything that makes a run what it is."""

    recipe: str = "demo"
    """The recipe these settings started from."""

    task: str = "caption"
    """What the run trains for: one of the tasks in captioner/tasks/. Recipes set it."""

    data: Data = Data()
    text: Text = Text()
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    contrastive: Contrastive = Contrastive()
    classify: Classify = Classify()
    matching: Matching = Matching()
    joint: Joint = Joint()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.model.units % self.model.heads:
            raise ValueError(
                f"model.heads={self.model.heads} must divide model.units={self.model.units}"
            )
        if self.data.augment and self.data.cache_features:
            raise ValueError(
                "data.augment=true needs data.cache_features=false: cached features are of the "
                "plain image (data.views=N caches augmented views instead)"
            )
        if self.data.views > 1 and not self.data.cache_features:
            raise ValueError(
                f"data.views={self.data.views} needs data.cache_features=true: views are what is "
                "cached (data.augment=true augments without a cache)"
            )
        if self.model.sentence_head and self.model.text_encoder == "none":
            raise ValueError(
                "model.sentence_head=true needs a text encoder: model.text_encoder is none"
            )
        if self.model.answers and self.task != "vqa":
            raise ValueError(
                f"model.answers={self.model.answers} needs a task that is about questions "
                f"(--recipe vqa), not {self.task}"
            )
        if self.model.answers and (self.model.sentence_head or self.model.copying):
            raise ValueError(
                f"model.answers={self.model.answers} is a classifier: without "
                "model.sentence_head and model.copying"
            )
        if self.model.copying and self.model.text_encoder == "none":
            raise ValueError("model.copying=true needs a text encoder: model.text_encoder is none")
        encoder = self.model.image_encoder
        whole = wholly_frozen(self.train.freeze, encoder)
        if self.model.sentence_head and not (self.data.cache_features and whole):
            raise ValueError(
                "model.sentence_head=true needs data.cache_features=true and the whole image "
                "encoder frozen (train.freeze with image_encoder): it is fitted to features that "
                "stay as they are"
            )
        if self.model.neighbours and not self.model.sentence_head:
            raise ValueError(
                f"model.neighbours={self.model.neighbours} needs model.sentence_head=true: it says "
                "what is near"
            )
        if self.data.cache_features and not frozen_stages(self.train.freeze, encoder):
            some = {"vgg19": "block[1-4]", "vit": None}.get(encoder, "conv[1-4]")
            hint = f", or image_encoder/{some} to fine-tune the last of its five" if some else ""
            raise ValueError(
                "data.cache_features=true needs at least the first stage of the image encoder "
                f"frozen (train.freeze with image_encoder{hint}), or set data.cache_features=false"
            )
        return self

    def dump(self) -> str:
        """All settings, defaults included, as JSON text."""
        return self.model_dump_json(indent=2) + "\n"
