"""The benchmark in sizes that tests can wait for, and what it writes."""

import json

from captioner import benchmark, kernels
from captioner.measuring import captioning, made_up, photos, processes, profile, subjects, training


def shrink(monkeypatch):
    """Everything small, in this process, until the monkeypatch is undone."""
    monkeypatch.setattr(kernels, "batches_differ", lambda flags: False)
    monkeypatch.setattr(captioning, "BATCHES", (1, 2))
    monkeypatch.setattr(captioning, "_PHONE_BATCH", 2)
    monkeypatch.setattr(photos, "WEB", (100, 75))
    monkeypatch.setattr(photos, "PHONE", (400, 300))
    monkeypatch.setattr(profile, "IMAGES", 3)
    monkeypatch.setattr(processes, "BATCH", 2)
    monkeypatch.setattr(made_up, "BATCH", 10)
    monkeypatch.setattr(made_up, "CAPTIONS", 10)
    monkeypatch.setattr(made_up, "CACHED", 4)
    monkeypatch.setattr(training, "_FILES_BATCH", 2)
    monkeypatch.setattr(training, "_STEPS", 2)
    monkeypatch.setattr(subjects, "SEARCHES", {"greedy": 1})
    monkeypatch.setattr(subjects, "WORDS", 120)
    for module in (made_up, training):
        monkeypatch.setattr(module, "WORDS", 120)
    monkeypatch.setattr(subjects, "_BANK", 30)
    monkeypatch.setattr(subjects, "_BERT_WORDS", 200)
    monkeypatch.setattr(subjects, "_BERT_WIDTH", 8)
    monkeypatch.setattr(subjects, "_BERT_LAYERS", 1)


def measured(tmp_path, *words):
    """The command's exit code and its JSON."""
    path = tmp_path / "figures.json"
    words = ["--rounds", "2", "--json", str(path), *map(str, words)]
    code = benchmark.main(benchmark.parser().parse_args(words))

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return code, json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def table(report, name):
    """One measurement's rows by name."""
    (found,) = (one for one in report["measurements"] if one["name"] == name)
    return {row["name"]: row for row in found["rows"]}
