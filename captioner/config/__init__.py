"""What a run is made of: `sections` has the settings, each with what it does, `decoding` those of
captioning and `heads` those of single tasks; `reading` makes them of a recipe and the command line.
"""

from captioner.config.reading import (
    build,
    changed,
    differences,
    load,
    near_misses,
    recipes,
    settings,
)
from captioner.config.decoding import Decode
from captioner.config.heads import Classify, Contrastive, Joint, Matching
from captioner.config.sections import Data, Model, Settings, Text, Train

__all__ = [
    "Classify",
    "Contrastive",
    "Data",
    "Decode",
    "Joint",
    "Matching",
    "Model",
    "Settings",
    "Text",
    "Train",
    "build",
    "changed",
    "differences",
    "load",
    "near_misses",
    "recipes",
    "settings",
]
