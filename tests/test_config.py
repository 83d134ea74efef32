"""Settings: typed, frozen, documented; what beats what; errors that say what to do."""

import json
from pathlib import Path

import pydantic
import pytest

from captioner import config
from captioner.config import Settings, settings
from captioner.config.freezing import frozen_stages
from captioner.errors import CaptionerError


def fields(section: type[pydantic.BaseModel] = Settings, prefix: str = ""):
    """(dotted name, field) of every setting."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, pydantic.BaseModel):
            yield from fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def value(made: Settings, key: str):
    for part in key.split("."):
        made = getattr(made, part)
    return made


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe file and gives its path."""

    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_every_setting_is_documented():
    undocumented = [name for name, field in fields() if len(field.description or "") < 10]
    assert undocumented == []
    sections = [field.annotation for field in Settings.model_fields.values()]
    assert all(one.__doc__ for one in sections if one is not str)


def test_the_settings_that_scripts_use_are_there():
    names = """train.epochs train.batch_size train.seed model.units model.image_weights
        model.text_encoder data.images data.text decode.beams decode.max_tokens""".split()
    assert set(names) <= {name for name, _ in fields()}


def test_settings_are_frozen():
    made = settings()
    for section in (made, made.train, made.data):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(section, next(iter(type(section).model_fields)), "x")
    assert isinstance(made.train.freeze, tuple)
    hash(made.train)


# What beats what.


def test_the_command_line_beats_the_recipe_beats_the_defaults(recipe):
    path = recipe("[train]\nepochs = 7\nbatch_size = 9\n[data]\nspec = 'csv:a.csv'\n")
    made = settings(path, overrides=["train.epochs=3"])
    assert (made.train.epochs, made.train.batch_size) == (3, 9)
    assert made.train.patience == config.Train().patience
    assert made.recipe == path and made.data.spec == "csv:a.csv"
    assert settings(path, data="csv:b.csv").data.spec == "csv:b.csv"
    over = settings(path, data="csv:b.csv", overrides=["data.spec=csv:c.csv"])
    assert over.data.spec == "csv:c.csv"


def test_the_last_of_repeated_words_counts():
    made = settings(overrides=["train.epochs=3", "train.seed=1", "train.epochs=4"])
    assert (made.train.epochs, made.train.seed) == (4, 1)


def test_a_recipe_file_may_lie_anywhere(recipe, monkeypatch, tmp_path):
    recipe("\ufefftrain.epochs = 7\r\n")  # dotted keys are TOML, too, and so writes Windows
    monkeypatch.chdir(tmp_path)
    assert settings("mine.toml").train.epochs == 7


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("data.images=my photos/a=b", "data.images", Path("my photos/a=b")),
        ("data.spec=csv:C:/a b=c.csv", "data.spec", "csv:C:/a b=c.csv"),
        ("data.images=none", "data.images", None),
        ("data.text=", "data.text", None),
        ("model.image_weights=none", "model.image_weights", "none"),
        ("train.epochs= 4 ", "train.epochs", 4),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("data.cache_features=true", "data.cache_features", True),
        ('train.freeze=["image_encoder", "a=b c"]', "train.freeze", ("image_encoder", "a=b c")),
        ("model.text_encoder=https://h/a?b=c", "model.text_encoder", "https://h/a?b=c"),
        ("data.folder=ü/漢", "data.folder", Path("ü/漢")),
    ],
)
def test_values_on_the_command_line(word, key, expected):
    assert value(settings(overrides=[word]), key) == expected


# What is refused.


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs=many", r"train.epochs='many': .*integer"),
        ("train.epochs=3.5", "train.epochs='3.5'"),
        ("train.epochs=", "train.epochs=''"),
        ("train.epochs=0", "train.epochs='0': .*greater than or equal to 1"),
        ("train.learning_rate=0", "greater than 0"),
        ("train.learning_rate=nan", "finite"),
        ("train.learning_rate=1e999", "finite"),
        ("train.label_smoothing=1", "less than 1"),
        ("train.seed=-1", "train.seed"),
        ("train.seed=99999999999999", "train.seed"),
        ("train.precision=float16", "'float32' or 'bfloat16'"),
        ("train.keep=1", "greater than or equal to 2"),
        ("train.schedule=linear", "'cosine', 'constant', 'step' or 'plateau'"),
        ("train.schedule_factor=1", "less than 1"),
        ("data.cache_features=maybe", "boolean"),
        ("text.vocabulary=10001", "less than or equal to 10000"),
        ("text.vocabulary=49", "greater than or equal to 50"),
        ("decode.beams=65", "decode.beams"),
        ("train.freeze=image_encoder", r'train.freeze=.*list.*\["image_encoder"\]'),
        ("train.freeze=[", "not a JSON list"),
        ("train.freeze=[1]", "train.freeze.0=1"),
        ('train.freeze=["image_encoder","("]', r"'\(' is no regular expression"),
        ("data.images=a\udcff", "not UTF-8"),
        ("train.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("", "expected key=value"),
        ("recipe=flickr8k", "--recipe"),
    ],
)
def test_wrong_values_are_refused(word, message):
    with pytest.raises(CaptionerError, match=message) as caught:
        settings(overrides=[word])
    assert "\n" not in str(caught.value)


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(CaptionerError, match=r"model.units=.*; train.epochs="):
        settings(overrides=["train.epochs=x", "model.units=0"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.units=100", "model.heads=3"], "model.heads=3 must divide model.units=100"),
        (["data.augment=true"], "data.views=N"),
        (["train.schedule=plateau", "train.patience=2"], "schedule_patience=2 must be less than"),
        (["data.views=2", "data.cache_features=false"], "data.views=2 needs"),
        (['train.freeze=["text_encoder"]'], "first stage of the image encoder frozen"),
        (["train.freeze=[]"], "first stage of the image encoder frozen"),
        (['train.freeze=["image_encoder/conv[2-5]"]'], "first stage of the image encoder frozen"),
        (
            ["model.sentence_head=true", 'train.freeze=["image_encoder/conv[1-4]"]'],
            "the whole image encoder frozen",
        ),
    ],
)
def test_settings_that_exclude_each_other(words, message):
    with pytest.raises(CaptionerError, match=message):
        settings(overrides=words)


@pytest.mark.parametrize(
    ("freeze", "stages"),
    [
        ([], 0),
        (["text_encoder", "image_encoder/conv[2-5]"], 0),
        (["image_encoder/conv1_conv"], 0),
        (["image_encoder/conv1"], 1),
        (["image_encoder/conv[1-3]", "image_encoder/conv4_block[1-5]"], 3),
        (["image_encoder/conv4", "image_encoder/conv[123]"], 4),
        (["image_encoder/.*conv/", "image_encoder/.*(gamma|beta)"], 5),
        (["image"], 5),
    ],
)
def test_stages_that_are_frozen_altogether(freeze, stages):
    assert frozen_stages(tuple(freeze)) == stages


@pytest.mark.parametrize(
    ("encoder", "freeze", "stages"),
    [
        ("vgg19", ["image_encoder/block[1-4]"], 4),
        ("vgg19", ["image_encoder/block1_conv1", "image_encoder/block2"], 0),
        ("vgg19", ["image_encoder"], 5),
        ("vit", ["image_encoder/vit_encoder", "image_encoder/vit_patching"], 0),
        ("vit", ["text_encoder"], 0),
        ("vit", ["image_encoder"], 1),
    ],
)
def test_stages_of_other_encoders(encoder, freeze, stages):
    assert frozen_stages(tuple(freeze), encoder) == stages
    words = [f"train.freeze={json.dumps(freeze)}", f"model.image_encoder={encoder}"]
    if stages:
        assert settings(overrides=words).model.image_encoder == encoder
    else:
        with pytest.raises(CaptionerError, match="needs at least the first stage"):
            settings(overrides=words)


def test_settings_of_before_there_was_a_choice_of_encoders(tmp_path):
    """As a run of then has them: the same run, not one with other settings."""
    then = json.loads(settings().dump())
    del then["model"]["image_encoder"], then["classify"]
    (tmp_path / "config.json").write_text(json.dumps(then))
    found = config.load(tmp_path / "config.json")
    assert found.model.image_encoder == "resnet50" and config.differences(found, settings()) == []


def test_fine_tuning_and_augmentation_go_without_the_cache():
    words = ["data.cache_features=false", "data.augment=true", "train.freeze=[]", "data.views=1"]
    assert settings(overrides=words).train.freeze == ()


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.epoch", "train.epochs"),
        ("Train.Epochs", "train.epochs"),
        ("train.batchsize", "train.batch_size"),
        ("epochs", "train.epochs"),
        ("beams", "decode.beams"),
        ("model.textencoder", "model.text_encoder"),
    ],
)
def test_unknown_settings_name_near_misses(key, near, recipe):
    with pytest.raises(CaptionerError, match=f"unknown setting '{key}'; did you mean .*{near}"):
        settings(overrides=[f"{key}=3"])
    with pytest.raises(CaptionerError, match=f"unknown setting '{key}'; did you mean .*{near}"):
        settings(recipe(f"{key} = 3"))


def test_settings_without_a_near_miss_are_listed():
    with pytest.raises(CaptionerError, match="'zzz'; there are classify.templates, .*data.augment, .*train.warmup"):
        settings(overrides=["zzz=3"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dem", "unknown recipe 'dem'; did you mean demo?"),
        ("DEMO", "did you mean demo?"),
        ("flickr8", "did you mean flickr8k?"),
        ("", "there are classify, demo, flickr8k"),
        ("zzz", "there are classify, demo, flickr8k"),
        ("none.toml", "no recipe file none.toml"),
    ],
)
def test_unknown_recipes_name_near_misses(name, message):
    with pytest.raises(CaptionerError) as caught:
        settings(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[train\nepochs = 3", "mine.toml"),
        (b"[train]\nepochs = 'x'", "train.epochs='x'"),
        (b"train = 3", "unknown setting 'train'"),
        (b"[train]\nepochs = {a = 1}", "unknown setting 'train.epochs.a'"),
        (b"\xff\xfe[train]", "mine.toml: 'utf-8' codec can't decode"),
        (b"[[train]]\nepochs = 3", "unknown setting 'train'"),
        (b"[train]\nepochs = 1979-05-27", "train.epochs"),
    ],
)
def test_broken_recipes_are_one_clear_error(content, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(CaptionerError, match=message):
        settings(str(path))


def test_a_recipe_cannot_name_another(recipe):
    path = recipe("recipe = 'flickr8k'\n")
    assert settings(path).recipe == path


# Shipped recipes.


@pytest.mark.parametrize("name", sorted(config.recipes()))
def test_shipped_recipes_are_valid_and_say_how_to_run_them(name):
    made = settings(name)
    assert made.recipe == name
    text = config.recipes()[name]
    comment = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert "python -m captioner.train" in comment


def test_the_recipes_of_the_contract_are_there():
    assert {"demo", "flickr8k"} <= set(config.recipes())
    assert settings().recipe == "demo" and settings().data.spec == "demo"


# Into a run and back.

STRANGE = [
    "data.images=my photos/ü=1", 'train.freeze=["image_encoder", "text.*\\\\d"]',
    "train.learning_rate=0.000123456789", "data.text=none", "decode.length_penalty=0",
]  # fmt: skip


def test_dumped_settings_are_loaded_again(tmp_path):
    made = settings("flickr8k", overrides=STRANGE)
    path = tmp_path / "config.json"
    path.write_text(made.dump(), encoding="utf-8")
    assert config.load(path) == made
    assert config.load(path).dump() == made.dump()
    dumped = json.loads(made.dump())
    for key, _ in fields():  # every setting, defaults included
        inner = dumped
        for part in key.split("."):
            inner = inner[part]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b"\xff{}", b'{"train": {"epochs": "x"}}',
     b'{"train": {"epoch": 3}}', b'{"train": 3}', b'{"train": null}'],
)  # fmt: skip
def test_a_damaged_config_is_named(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CaptionerError, match="config.json"):
        config.load(path)


def test_differences_name_what_is_not_the_same():
    old = settings(overrides=["train.seed=1"])
    assert config.differences(old, old) == []
    new = settings(overrides=["train.seed=2", "data.text=a.txt"])
    assert config.differences(old, new) == [
        "data.text: None there, a.txt asked", "train.seed: 1 there, 2 asked"
    ]  # fmt: skip


def test_changed_takes_the_sections_it_may():
    made = settings("flickr8k", overrides=STRANGE)
    changed = config.changed(made, ["decode.beams=2"], ["decode"])
    assert changed.decode.beams == 2
    assert config.differences(made, changed) == [
        f"decode.beams: {made.decode.beams} there, 2 asked"
    ]
    assert config.changed(made, [], ["decode"]) == made
    with pytest.raises(CaptionerError, match="part of the trained run; only decode"):
        config.changed(made, ["train.epochs=2"], ["decode"])
    with pytest.raises(CaptionerError, match="did you mean decode.beams"):
        config.changed(made, ["decode.beam=2"], ["decode"])
