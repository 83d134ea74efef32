"""What tasks have in common whose every example has a prompt of the data's own: a question, or the
text around an image."""

from captioner.config import Settings
from captioner.errors import CaptionerError
from captioner.inputs.questions import asked
from captioner.inputs.records import DataSet


def check(settings: Settings, data: DataSet, prompts: str, kinds: str) -> None:
    """Refuses settings and data that such a task can do nothing with.

    Args:
        settings, data: the run's.
        prompts: what its prompts are called.
        kinds: what its recipe reads, for the message.

    Raises:
        CaptionerError: there is no text encoder, captions without prompts are to be rewarded, or
            training images have no prompts.
    """
    if settings.model.text_encoder == "none":
        raise CaptionerError(
            f"{prompts} need a text encoder to read them: model.text_encoder is none"
        )
    if settings.train.reward_epochs:
        raise CaptionerError(
            f"train.reward_epochs is about captions without prompts: set it to 0 for {prompts}"
        )
    train = data.split("train")
    if train and not any(any(asked(record)) for record in train):
        raise CaptionerError(
            f"{settings.data.spec} has no {prompts}: the recipe {settings.task} reads {kinds}"
        )
