"""Settings from a recipe and the command line, or from a run's file."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic

from captioner.config.section import Section
from captioner.config.sections import Settings
from captioner.errors import CaptionerError

# How Python spells bytes that aren't UTF-8.
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def _keys(section: type[pydantic.BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every setting's dotted name."""
    names = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += _keys(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def near_misses(word: str, choices: Iterable[str]) -> str:
    """', did you mean a or b?' or what there is to choose from."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word.lower(), choices, n=3, cutoff=0.6)
    if not close:  # the section forgotten: epochs for train.epochs
        close = [c for c in choices if c.rpartition(".")[2] == word.rpartition(".")[2]]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(choices)}"


def recipes() -> dict[str, str]:
    """The recipes that go by name, with their text."""
    folder = resources.files("captioner") / "recipes"
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _read_recipe(recipe: str) -> dict[str, Any]:
    if recipe.endswith(".toml"):
        path = Path(recipe)
        if not path.is_file():
            raise CaptionerError(f"no recipe file {path}")
        content = path.read_bytes()
    else:
        named = recipes()
        if recipe not in named:
            raise CaptionerError(f"unknown recipe {recipe!r}{near_misses(recipe, named)}")
        content = named[recipe].encode()
    try:
        return _flatten(tomllib.loads(content.decode("utf-8-sig")))
    except ValueError as error:  # no TOML, or no UTF-8
        raise CaptionerError(f"recipe {recipe}: {error}") from None


def _parse(overrides: Iterable[str]) -> dict[str, Any]:
    """`key=value` words; values that begin with [ are JSON lists."""
    parsed: dict[str, Any] = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise CaptionerError(f"--set {word}: expected key=value, such as train.epochs=3")
        if key == "recipe":
            raise CaptionerError(f"--set {word}: a recipe is named by --recipe")
        if value.startswith("["):
            try:
                parsed[key] = json.loads(value)
            except json.JSONDecodeError as error:
                raise CaptionerError(f"--set {word}: not a JSON list ({error})") from None
        else:
            parsed[key] = value
    return parsed


def build(flat: Mapping[str, Any]) -> Settings:
    """Settings from dotted names; unknown names and wrong values raise CaptionerError."""
    known = _keys()
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        if key not in known:
            raise CaptionerError(f"unknown setting {key!r}{near_misses(key, known)}")
        if isinstance(value, str) and _NOT_UTF8.search(value):
            raise CaptionerError(f"{key}={value!r}: not UTF-8, so no run could write it down")
        *sections, name = key.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        # `none` is how an optional path is unset on a command line.
        optional = key in ("data.images", "data.text", "train.teacher")
        inner[name] = None if optional and value in ("none", "") else value
    try:
        return Settings.model_validate(tree)
    except pydantic.ValidationError as error:
        raise CaptionerError("; ".join(_explain(one) for one in error.errors())) from None


def _explain(error: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        message = 'Input should be a list; on the command line as JSON, ["image_encoder"]'
    whole = isinstance(error["input"], Mapping)  # a section at odds with itself
    return f"{where}={error['input']!r}: {message}" if where and not whole else message


def settings(
    recipe: str = "demo", *, data: str | None = None, overrides: Iterable[str] = ()
) -> Settings:
    """Reads a recipe (a name or a .toml file), `--data` and `--set` words into Settings.

    Raises:
        CaptionerError: unknown recipe or key (naming near misses), or a value of a wrong type,
            out of range, or at odds with another.
    """
    flat = {**_read_recipe(recipe), "recipe": recipe}
    if data is not None:
        flat["data.spec"] = data
    return build(flat | _parse(overrides))


def changed(settings: Settings, overrides: Iterable[str], sections: Iterable[str]) -> Settings:
    """Settings with `--set` words applied, of these sections only.

    Raises:
        CaptionerError: as `settings`, or a key of another section.
    """
    parsed = _parse(overrides)
    for key in parsed:
        if key in _keys() and key.partition(".")[0] not in sections:
            raise CaptionerError(
                f"{key} is part of the trained run; only {', '.join(sections)} settings can change"
            )
    return build(_flatten(settings.model_dump(mode="json")) | parsed)


def load(path: Path) -> Settings:
    """The settings of a run, from its config.json.

    Raises:
        CaptionerError: damaged, or with settings that this version doesn't know.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise ValueError("it holds no settings")
        return build(_flatten(tree))
    except (ValueError, CaptionerError) as error:  # ValueError: no JSON, or no UTF-8
        raise CaptionerError(f"{path} is damaged: {error}") from None


def differences(old: Settings, new: Settings) -> list[str]:
    """'train.seed: 0 there, 1 asked' for each setting that differs."""
    a, b = (_flatten(one.model_dump(mode="json")) for one in (old, new))
    return [f"{key}: {a.get(key)} there, {b.get(key)} asked" for key in b if a.get(key) != b[key]]
