"""HTML of text that anybody may have written: all of it passes through `escaped`."""

import html
from collections.abc import Iterable, Sequence


def escaped(text: object) -> str:
    """Text for HTML, in elements and quoted attributes alike.

    Control characters, which HTML doesn't allow, and halves of surrogate pairs, which UTF-8
    doesn't, are shown as escapes.
    """
    shown = "".join(
        ascii(c)[1:-1] if (ord(c) < 32 and c not in "\t\n") or 0xD800 <= ord(c) < 0xE000 else c
        for c in str(text)
    )
    return html.escape(shown, quote=True)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows.

    Args:
        caption: what it shows, as text.
        head: the columns' names, as text.
        rows: cells, as HTML; a whole row may come as a string, HTML too.
    """
    columns = "".join(f'<th scope="col">{escaped(one)}</th>' for one in head)
    body = "".join(one if isinstance(one, str) else row(one) for one in rows)
    # Scrolls by itself on narrow screens, so the keyboard must reach it.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escaped(caption)}">'
        f"<table><caption>{escaped(caption)}</caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def row(cells: Sequence[str], kind: str = "") -> str:
    """A row of cells given as HTML."""
    opened = f'<tr class="{kind}">' if kind else "<tr>"
    first, *others = cells
    # A cell that brings its own element (`<td class=…>`) stays as it is.
    made = "".join(one if one.startswith("<td") else f"<td>{one}</td>" for one in others)
    return f'{opened}<th scope="row">{first}</th>{made}</tr>'


def pairs(values: Iterable[tuple[str, str]]) -> str:
    """A list of names and what belongs to them, both as text."""
    return "<dl>{}</dl>".format(
        "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in values)
    )
