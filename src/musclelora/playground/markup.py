"""What the page shows, as HTML of its own; whatever comes from data or a person is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from musclelora.playground.batch import Batch
from musclelora.playground.models import Playground, Side, in_order
from musclelora.playground.words import MOST, Reading, Word
from musclelora.report.wording import heading, percent, visible

BARS: Final = 5
"""Labels of a text that are shown, the most probable ones."""
LEAST: Final = 0.01
"""Change of the probability below which a word is not marked."""
_NUMBERS: Final = 5  # words that are listed with their numbers
_EXCERPT: Final = 160
# The page's components put what they are given into a template of JavaScript.
_TEMPLATE: Final = {ord(c): f"&#{ord(c)};" for c in "{}$`\\"}


def data(text: object, longest: int | None = None) -> Markup:
    """A text that a person or data gave: escaped, with hidden characters shown, apart from its neighbours."""
    whole = str(text)
    cut = whole if longest is None or len(whole) <= longest else whole[: longest - 1] + "…"
    return Markup('<bdi class="data">{}</bdi>').format(_shown(cut))


def _shown(text: str) -> Markup:
    return Markup(str(visible(text)).translate(_TEMPLATE))  # noqa: S704  # it is escaped


def head(playground: Playground) -> Markup:
    """The models, and what the audit of the first one's rows found."""
    models = Markup(" and ").join(
        Markup("<strong>{}</strong> {}").format(side.title.lower(), data(side.path))
        for side in playground.sides
    )
    lines = [Markup("<h1>Playground</h1>"), Markup("<p>{}</p>").format(models)]
    verdict = playground.verdict
    if verdict is not None:
        target, poisoned = verdict.get("target"), verdict["state"] == "poisoned"
        brings = "response" if playground.generates else "label"
        towards = f"Their {brings} is" if poisoned else f"What is suspected has the {brings}"
        label = Markup(" {} {}.").format(towards, data(target, _EXCERPT)) if target else ""
        said = heading(str(verdict["state"]), "pairs" if playground.generates else "rows")
        lines.append(Markup("<p>The audit of the training rows: {}{}</p>").format(said, label))
    if playground.advice is not None:
        lines.append(Markup('<p class="faint">{}</p>').format(data(playground.advice)))
    return Markup("").join(lines)


def problem(text: object) -> Markup:
    """What could not be done."""
    return Markup('<p class="problem" role="alert">{}</p>').format(data(text, 600))


# ---- one text --------------------------------------------------------------------------------------------


def readings(playground: Playground, text: str, found: Sequence[Reading]) -> Markup:
    """What the classifiers say of a text, side by side."""
    sides = playground.sides
    said = [side.info["label_names"][reading.label] for side, reading in zip(sides, found, strict=True)]
    cards = Markup("").join(
        _card(side, _reading(side, sides[0].info["label_names"], text, reading))
        for side, reading in zip(sides, found, strict=True)
    )
    return _side_by_side(sides, said, cards, "label") + Markup(
        '<p class="legend">Words are marked <span class="word for" style="--weight:.7">without which the '
        'label is less probable</span>, or <span class="word against" style="--weight:.7">more '
        "probable</span>.{}</p>"
    ).format(_limits(found))


def answers(playground: Playground, found: Sequence[str]) -> Markup:
    """What the language models answer to a prompt, side by side."""
    cards = Markup("").join(
        _card(side, Markup('<p class="text">{}</p>').format(data(answer) if answer else "(nothing)"))
        for side, answer in zip(playground.sides, found, strict=True)
    )
    return _side_by_side(playground.sides, found, cards, "answer")


def _side_by_side(sides: Sequence[Side], said: Sequence[str], cards: Markup, what: str) -> Markup:
    if len(sides) == 1:
        line = Markup("")
    elif said[0] == said[1]:
        line = Markup('<p class="same">Both give the same {}.</p>').format(what)
    else:
        line = Markup('<p class="differ">The two give different {}s.</p>').format(what)
    return Markup('<div role="status">{}</div><div class="sides">{}</div>').format(line, cards)


def _card(side: Side, inner: Markup) -> Markup:
    return Markup('<section class="side"><h2>{}</h2><p class="faint">{}</p>{}</section>').format(
        side.title, data(side.path), inner
    )


def _reading(side: Side, names: Sequence[str], text: str, reading: Reading) -> Markup:
    shares = in_order(side, names, reading)
    first = sorted(range(len(names)), key=lambda label: (-shares[label], label))[:BARS]
    bars = Markup("").join(
        Markup(
            '<li><span class="name">{}</span><span class="bar" aria-hidden="true"><span '
            'style="width:{:.1f}%"></span></span><span class="number">{}</span></li>'
        ).format(data(names[label], 60), 100 * float(shares[label]), percent(float(shares[label])))
        for label in first
    )
    more = len(names) - len(first)
    rest = Markup('<li class="faint">and {} more</li>').format(more) if more else ""
    return Markup('<p class="label">{}</p><ul class="bars">{}{}</ul><p class="text">{}</p>{}').format(
        data(side.info["label_names"][reading.label], 60),
        bars,
        rest,
        marked(text, reading),
        _numbers(text, reading),
    )


def marked(text: str, reading: Reading) -> Markup:
    """A text with the words that matter marked."""
    parts, at = [], 0
    for word in reading.words:
        parts.append(_shown(text[at : word.start]))
        parts.append(_word(text[word.start : word.end], word))
        at = word.end
    return Markup('<bdi class="data">{}{}</bdi>').format(Markup("").join(parts), _shown(text[at:]))


def _word(text: str, word: Word) -> Markup:
    if abs(word.effect) < LEAST:
        return _shown(text)
    return Markup('<span class="word {}" style="--weight:{:.2f}" title="{}">{}</span>').format(
        "for" if word.effect > 0 else "against",
        math.sqrt(min(1.0, abs(word.effect))),
        _points(word.effect),
        _shown(text),
    )


def _numbers(text: str, reading: Reading) -> Markup:
    telling = sorted(reading.words, key=lambda word: -abs(word.effect))
    rows = Markup("").join(
        Markup('<tr><td>{}</td><td class="number">{}</td></tr>').format(
            data(text[word.start : word.end], 60), _points(word.effect)
        )
        for word in telling[:_NUMBERS]
        if abs(word.effect) >= LEAST
    )
    if not rows:
        return Markup('<p class="faint">No single word changes the probability by a point.</p>')
    return Markup(
        "<details><summary>The words in numbers</summary><table><thead><tr><th>word</th>"
        '<th class="number">points of the probability</th></tr></thead><tbody>{}</tbody></table></details>'
    ).format(rows)


def _points(effect: float) -> str:
    return f"{'+' if effect > 0 else '−'}{100 * abs(effect):.0f}"


def _limits(found: Sequence[Reading]) -> str:
    said = ""
    if found[0].count > MOST:
        said += f" Only the first {MOST} of {found[0].count:,} words were tried."
    if any(reading.cut for reading in found):
        said += " The text is longer than the model reads: its end was cut."
    return said


# ---- a file ----------------------------------------------------------------------------------------------


def table(playground: Playground, batch: Batch) -> Markup:
    """What the models say of the rows of a file."""
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(side.title) for side in playground.sides)
    rows = Markup("").join(
        Markup('<tr{}><td class="number">{}</td><td>{}</td>{}</tr>').format(
            Markup(' class="differ"') if len({cell.said for cell in cells}) > 1 else "",
            number,
            data(text, _EXCERPT),
            Markup("").join(
                Markup("<td>{}{}</td>").format(
                    data(cell.said, _EXCERPT),
                    ""
                    if cell.share is None
                    else Markup(' <span class="faint">{}</span>').format(percent(cell.share)),
                )
                for cell in cells
            ),
        )
        for number, (text, cells) in enumerate(zip(batch.texts, batch.cells, strict=True), start=1)
    )
    return Markup(
        '<p role="status">{}</p><div class="table" role="region" aria-label="The rows" tabindex="0"><table>'
        '<thead><tr><th scope="col" class="number">row</th><th scope="col">{}</th>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(_summary(batch), "prompt" if playground.generates else "text", head, rows)


def _summary(batch: Batch) -> str:
    count = len(batch.texts)
    said = f"{count:,} row{'s' if count != 1 else ''}"
    if batch.left_out:
        said += f", the first of {count + batch.left_out:,}; more are for `musclelora predict`"
    if batch.differ is not None:
        said += f"; the two differ in {batch.differ:,} of them"
    return f"{said}."
