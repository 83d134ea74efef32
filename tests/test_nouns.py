"""Main nouns, and captions that share them."""

import pytest

from captioner.nouns import main_noun, shares_main_noun


@pytest.mark.parametrize(
    ("caption", "noun"),
    [
        ("a dog runs through the grass", "dog"),
        ("two small brown dogs are playing", "dog"),
        ("a black and white dog jumps", "dog"),
        ("A man in a blue shirt .", "man"),
        ("three young women are walking", "woman"),
        ("the people are standing", "person"),
        ("a person on a bike", "person"),
        ("a little boy", "boy"),
        ("two children", "child"),
        ("a group of people are sitting", "person"),
        ("a crowd of soccer players", "player"),
        ("a group", "group"),
        ("a construction worker digs", "worker"),
        ("two mountain bikers", "biker"),
        ("a man under a tree", "man"),
        ("a dog near water", "dog"),
        ("a smiling blond-haired girl", "girl"),
        ("a building in the city", "building"),
        ("there is a red ball on the left", "ball"),
        ("running through the snow", "snow"),
        ("a", ""),
        ("", ""),
    ],
)
def test_main_noun(caption, noun):
    assert main_noun(caption) == noun


@pytest.mark.parametrize(
    ("caption", "references", "shared"),
    [
        ("a dog runs", ["A cat sits.", "Two dogs run!"], True),
        ("two dogs", ["the dog's ball"], False),
        ("two dogs", ["a dog"], True),
        ("a man", ["a woman"], False),
        ("a man", ["two men talk"], True),
        ("a boy", ["a man", "a child"], False),
        ("a woman", ["a man and a woman"], True),
        ("people sit", ["a person sits"], True),
        ("a man", ["a manhole"], False),
        ("a", ["a dog"], False),
        ("a dog", [], False),
    ],
)
def test_sharing_a_main_noun(caption, references, shared):
    assert shares_main_noun(caption, references) is shared
