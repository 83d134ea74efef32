"""An evaluation as one HTML page: figures, captions, photos, and where the model looked.

Everything stands in the file: no script, nothing fetched, so that it can be mailed, archived and
opened years later. A policy in the page forbids the browser the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from captioner.captioning import Captioner, Result
from captioner.metrics.assessment import FAULTS
from captioner.metrics.bootstrap import LEVEL, RESAMPLES
from captioner.reporting import charts, deleted, tables
from captioner.reporting.examples import Row, Section, choose
from captioner.reporting.markup import escaped, pairs, row, table
from captioner.reporting.pictures import maps, photo, picture
from captioner.reporting.style import CSS

_BATCH = 8
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_EXPLAINED = (
    f"Intervals hold {LEVEL:.0%} of {RESAMPLES:,} resamples of the images (percentile bootstrap): "
    "so far a figure may move with other photos of the same kind. Training once more with another "
    "seed moves it, too; the intervals know nothing of that."
)


def page(
    model: Captioner, scores: Mapping[str, Any], rows: Sequence[Row], *, seed: int = 0
) -> str:
    """The page of an evaluation.

    Args:
        model: captions the images shown once more, to tell where it looks for each word.
        scores: what scores.json holds, with its `settings`.
        rows: `captioner.evaluation.rows` of all the images.
        seed: int. Draws the random images.

    Returns:
        str: the HTML document, about two megabytes with all its photos.
    """
    sections = choose(rows, seed)
    shown = [one for section in sections for one in section.rows]
    results = _explained(model, shown)
    settings = scores.get("settings", {})
    parts = [
        _head(settings, sections, scores),
        *_scores(scores, rows),
        *_captions(scores),
        *_prompts(scores.get("prompts")),
        *_comparison(scores.get("comparison"), "comparison", "Compared with another model"),
        *deleted.section(scores.get("deletion")),
        *(_section(section, results, scores) for section in sections),
    ]
    return document(
        f"captioner: {settings.get('model', model.source)}", parts, _footer(settings)
    )


def document(title: str, parts: Sequence[str], footer: str) -> str:
    """A page that stands alone.

    Args:
        title: as text.
        parts: HTML; the first opens `main`.
        footer: HTML.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n</main>\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def _explained(model: Captioner, rows: Sequence[Row]) -> dict[Any, Result]:
    """The rows' captions with attention, by image id."""
    found: dict[Any, Result] = {}
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        images, prompts = [one["image"] for one in part], [one["prompt"] for one in part]
        for one, result in zip(part, model.caption(images, prompts, attention=True), strict=True):
            found[one["image_id"]] = result
    return found


def _head(settings, sections: Sequence[Section], scores) -> str:
    decode = settings.get("decode", {})
    facts = {
        "model": settings.get("model"),
        "data": settings.get("data"),
        "split": settings.get("split"),
        "images": f"{scores['images']:,}",
        "prompts": settings.get("prompts"),
        # What is off needs no words.
        "search": ", ".join(f"{name} {value}" for name, value in decode.items() if value),
    }
    links = [("scores", "Scores"), ("wording", "The captions")]
    links += [("prompts", "Prompts")] if "prompts" in scores else []
    links += [("comparison", "Comparison")] if "comparison" in scores else []
    links += [("deletion", "The maps")] if "deletion" in scores else []
    links += [(section.key, section.title) for section in sections]
    items = "".join(f'<li><a href="#{key}">{escaped(name)}</a></li>' for key, name in links)
    return (
        "<header><h1>What the captioner scores</h1>"
        + pairs((name, str(value)) for name, value in facts.items() if value)
        + f'<nav aria-label="Contents"><ul>{items}</ul></nav></header>\n<main>'
    )


def _scores(scores, rows: Sequence[Row]) -> list[str]:
    intervals = scores.get("intervals", {})
    shown = [
        (name, value)
        for name, value in scores.items()
        if isinstance(value, float) and name != "CIDEr_D"
    ]
    cells = []
    for name, value in shown:
        bounds = intervals.get(name)
        # CIDEr has a scale of its own; the others end at 1.
        top = 1.0 if name != "CIDEr" else max(1.0, bounds[1] if bounds else value)
        bar = charts.interval_bar(value, bounds, top) if bounds else ""
        one = [escaped(name), tables.number(value), tables.interval(bounds, name)]
        one.append(f'<td class="bar">{bar}</td>')
        cells.append(row(one, "main" if name == "CIDEr" else ""))
    parts = [
        '<h2 id="scores">Scores</h2>',
        table("Scores of all images together", ("score", "value", "interval", "from 0"), cells),
    ]
    if intervals:
        parts.append(f'<p class="note">{escaped(_EXPLAINED)}</p>')
    missing = [name for name, value in scores.items() if value is None]
    if missing:
        names = escaped(" and ".join(missing))
        parts.append(f'<p class="note">{names}: not measured (needs Java and captioner[java]).</p>')
    if len(rows) > 1:
        drawn = charts.histogram([one["CIDEr"] for one in rows], "CIDEr")
        parts += ["<h3>CIDEr, image by image</h3>", f'<div class="wide">{drawn}</div>']
        parts.append('<p class="note">Images (above each bar) by their CIDEr (below).</p>')
    return parts


def _captions(scores) -> list[str]:
    people, intervals = scores["captions_of_people"], scores.get("intervals", {})
    cells = [
        [
            escaped(tables.NAMES[name]),
            tables.counted(name, value),
            tables.interval(intervals.get(name), name),
            tables.counted(name, people.get(name)),
        ]
        for name, value in scores["captions"].items()
    ]
    return [
        '<h2 id="wording">The captions</h2>',
        table("All captions together", ("figure", "model", "interval", "people"), cells),
        '<p class="note">People: one reference of each image, judged by the others. Objects are '
        "words that the training captions (without them, the references) use as nouns; those "
        "that no reference of the image has count as hallucinated, though some may be in the "
        "picture, unmentioned. All words for people are one word, and there are no other "
        "synonyms: compare models by these figures, and the model with people, nothing else.</p>",
    ]


def _prompts(prompts) -> list[str]:
    if not prompts:
        return []
    said = {"keywords": "two content words of a reference", "prefix": "a reference's beginning"}
    key, words = (
        ("words_used", "of these words stand in the caption")
        if "words_used" in prompts
        else ("continued", "of the captions begin with it, word for word")
    )
    share = "–" if prompts[key] is None else f"{prompts[key]:.1%}"
    cells = [
        [
            escaped(label),
            tables.number(found["prompted"]),
            tables.number(found["unprompted"]),
            tables.change(found["prompted"], found["unprompted"]),
            tables.number(found["prompt_alone"]),
        ]
        for name, label in tables.PROMPT_ROWS.items()
        if (found := prompts[name])
    ]
    head = ("CIDEr against", "prompted", "unprompted", "change", "prompt alone")
    return [
        '<h2 id="prompts">Prompts</h2>',
        f"<p>Prompts were {escaped(said[prompts['kind']])} (seed {prompts['seed']}), for "
        f"{prompts['images_with_prompt']:,} of the images. {share} {words}.</p>",
        table("CIDEr with and without prompts, on the same images", head, cells),
        '<p class="note">A prompt says something about the reference that it was taken from. '
        "“Prompt alone” is what it scores as it is, taken for a caption; the second row leaves "
        "its reference out.</p>",
        *_comparison(prompts["comparison"], "unprompted", "Compared with no prompts", level=3),
    ]


def _comparison(comparison, key: str, title: str, level: int = 2) -> list[str]:
    if not comparison:
        return []
    cells = []
    for name, one in zip(comparison["measures"], tables.differences(comparison), strict=True):
        found = comparison["measures"][name]
        made = [escaped(cell) for cell in one]
        if kind := _verdict(name, found):
            made[3] = f'<td class="{kind}">{made[3]} {kind}</td>'
        cells.append(row(made, "main" if name == "CIDEr" else ""))
    head = ("figure", "model", "other", "difference", "interval", "p", "better on", "worse on")
    other = escaped(comparison["other"])
    return [
        f'<h{level} id="{key}">{escaped(title)}</h{level}>',
        f"<p>The other: {other}. {comparison['images']:,} images, the same for both.</p>",
        table("The model’s figures minus the other’s", head, cells),
        '<p class="note">A difference is called better or worse where its interval (paired '
        "bootstrap) has no 0 in it and p (approximate randomisation, two-sided, each figure by "
        "itself) is below 0.05. Those of shares are in percentage points. The last columns count "
        "images; on the rest the two are equal.</p>",
    ]


def _verdict(name: str, found: Mapping[str, Any]) -> str:
    """`better` or `worse` where interval and p leave little doubt; '' where they do, and of figures
    of which neither more nor less is good."""
    bounds, p = found["interval"], found["p"]
    if bounds is None or bounds[0] <= 0 <= bounds[1] or p is None or p >= 0.05:
        return ""
    if name not in FAULTS and name not in tables.SCORES:
        return ""
    return "better" if (bounds[0] > 0) != (name in FAULTS) else "worse"


def _section(section: Section, results: Mapping[Any, Result], scores) -> str:
    shown = "\n".join(
        _example(one, results[one["image_id"]], scores) for one in section.rows
    )
    return (
        f'<section aria-labelledby="{section.key}"><h2 id="{section.key}">'
        f"{escaped(section.title)}</h2>"
        f'<p class="note">{escaped(section.note)}</p>\n{shown}</section>'
    )


def _example(one: Row, result: Result, scores) -> str:
    image = photo(one["image"])
    if image is None:
        shown = '<p class="lost">The photo can’t be shown.</p>'
    else:
        drawn = picture(image)
        shown = (
            f'<img src="{drawn.uri}" width="{drawn.width}" height="{drawn.height}" '
            f'alt="{escaped("Photo. A person wrote: " + one["references"][0])}">'
        )
    said = [
        f"<h3>{_marked(one)}</h3>",
        f'<p class="muted">CIDEr {one["CIDEr"]:.2f} · ROUGE-L {one["ROUGE_L"]:.2f} · '
        f"{escaped(one['image_id'])}</p>",
    ]
    if one["prompt"]:
        said.append(f"<p>Prompt: {escaped(one['prompt'])}</p>")
    if one["hallucinated"]:
        words = escaped(", ".join(one["hallucinated"]))
        said.append(f"<p>No reference has: <strong>{words}</strong></p>")
    others = {"unprompted": "Without a prompt"}
    if "comparison" in scores:
        others["against"] = f"The other model, {scores['comparison']['other']}"
    for key, name in others.items():
        if key in one:
            said.append(
                f"<h4>{escaped(name)}</h4><p>{escaped(one[key]['caption'])} "
                f'<span class="muted">CIDEr {one[key]["CIDEr"]:.2f}</span></p>'
            )
    people = "".join(f"<li>{escaped(text)}</li>" for text in one["references"])
    said.append(f"<h4>People wrote</h4><ul>{people}</ul>")
    looked = "" if image is None else _maps(one, image, result)
    return f"<article>{shown}<div>{''.join(said)}</div>{looked}</article>"


def _marked(one: Row) -> str:
    """The caption, with the words that no reference has marked."""
    if not one["caption"]:
        return "(an empty caption)"
    wrong = set(one["hallucinated"])
    return " ".join(
        f"<mark>{escaped(word)}</mark>" if word in wrong else escaped(word)
        for word in one["caption"].split()
    )


def _maps(one: Row, image, result: Result) -> str:
    # A server may have changed its model meanwhile: no maps of another caption.
    if result.error or result.text != one["caption"] or not result.captions[0].tokens:
        return ""
    items = "".join(
        f'<li><img src="{drawn.uri}" width="{drawn.width}" height="{drawn.height}" '
        f'alt="looked at: {place}">{escaped(word)}</li>'
        for word, drawn, place in maps(image, result.captions[0])
    )
    return f'<ol class="maps" aria-label="Where the model looked for each word">{items}</ol>'


def _footer(settings) -> str:
    made = [f"Made by captioner {settings['captioner']}."] if "captioner" in settings else []
    named = {"tokenizer": "Tokenised by", "scorers": "Scored by"}
    made += [f"{name} {settings[key]}." for key, name in named.items() if key in settings]
    made.append("Scores are on the scale of the official scorers: papers print them times 100.")
    return escaped(" ".join(made))
