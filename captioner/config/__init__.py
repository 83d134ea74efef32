"""What a run is made of: `sections` has the settings, each with what it does; `reading` makes them
of a recipe and the command line."""

from captioner.config.reading import (
    build,
    changed,
    differences,
    load,
    near_misses,
    recipes,
    settings,
)
from captioner.config.sections import Data, Decode, Model, Settings, Text, Train

__all__ = [
    "Data",
    "Decode",
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
