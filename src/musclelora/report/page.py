"""The report of an audit: one HTML file that needs nothing beside it and asks nothing of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from musclelora import __version__
from musclelora.errors import OutputError
from musclelora.files import atomic_file, is_stream, output_errors
from musclelora.outputs import check_output
from musclelora.report import charts, wording
from musclelora.report.coordinates import map_of
from musclelora.report.look import asset, policy, stylesheet
from musclelora.report.measured import Scores, scores_of
from musclelora.report.rows import ACTIONS, packed
from musclelora.report.spectrum import Spectrum, spectrum_of
from musclelora.report.subject import AnyAudit, Feature, Subject, subject_of

FEATURES: Final = 40
"""Features that the page shows; the others are in ``triggers.csv``."""
LABELS: Final = 200
"""Labels that the page has a line of, those with most rows; each row can be given any label."""
_HERE: Final = Path(__file__).parent
_MARK: Final = '<meta name="generator" content="musclelora report">'
_LIBRARIES: Final = ("torch", "transformers", "scikit-learn", "numpy")
_STYLE_RATES: Final = {
    "flip": "rows put like that, unseen, that mean something else",
    "control": "rows put otherwise",
    "natural": "the same rows, models of trusted rows alone",
}


def write_report(
    audit: AnyAudit,
    path: str | os.PathLike[str],
    *,
    command: str | None = None,
    run: str | os.PathLike[str] | None = None,
) -> None:
    """Write what an audit found as one HTML file; nothing is computed again.

    The page shows the verdict, what was checked, triggers, styles, the rows with their reasons, a map, and
    what makes the audit again; of pairs no styles and no map. A person decides there which rows to keep, drop
    or, where they have labels, relabel, and downloads the file that ``--decisions`` takes. Text of the data
    is never markup in it.

    Args:
        audit: an audit of labels or of pairs that has looked for issues, or one that was saved.
        path: the file to write; an earlier report is replaced, no other file is.
        command: the command that made the audit; None: one is put together of its settings.
        run: the folder of a run; what `musclelora evaluate --card` measured of it is shown, and its Fourier
            analysis where it recorded one.

    Raises:
        ModelError, DataError: `run` is no run, or its analysis is not finished.
        OutputError: the file cannot be written there, or is another file.
        UsageError: the audit has not looked for anything yet.
    """
    check_report(path, audit.folder, run)
    page = html(
        subject_of(audit),
        command=command,
        scores=None if run is None else scores_of(run),
        spectrum=None if run is None else spectrum_of(run),
    )
    with atomic_file(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "backslashreplace"))


def check_report(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Refuse a place where no report may be written; an earlier report may be replaced.

    Raises:
        OutputError: what :func:`~musclelora.outputs.check_output` refuses; or there is another file.
    """
    check_output(path, inputs)
    place = Path(path)
    if is_stream(place) or not place.is_file():
        return
    with output_errors(place), place.open("rb") as file:
        beginning = file.read(400)
    if beginning and _MARK.encode() not in beginning:
        raise OutputError(f"{place}: it is a file that is no report; name another output")


def html(
    subject: Subject,
    *,
    command: str | None = None,
    scores: Scores | None = None,
    spectrum: Spectrum | None = None,
) -> str:
    """The whole page."""
    found = map_of(subject) if subject.task.mapped else None
    features, styles = subject.features[:FEATURES], _styles(subject)
    groups = [(feature.row["text"], feature.holders) for feature in features]
    groups += [(None, style["holders"]) for style in styles]
    rows = packed(subject, None if found is None else found.places, groups)
    style, script = stylesheet(_HERE / "page.css"), asset(_HERE / "page.js")
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "data": wording.data,
        "number": wording.number,
        "percent": wording.percent,
        "p": wording.probability,
    }
    return environment.get_template("page.html.j2").render(
        mark=Markup(_MARK),  # noqa: S704 - a text of this module
        policy=policy(style, script),
        style=style,
        script=script,
        subject=subject,
        words=subject.task.words,
        verdict=subject.verdict,
        heading=wording.heading(subject.verdict.state, subject.task.rows),
        evidence=wording.sentences(subject.verdict.why),
        lead=_lead(features, styles),
        counts={name: int((subject.issues["action"] == name).sum()) for name in ACTIONS},
        features=[_shown(subject, feature, number) for number, feature in enumerate(features)],
        more_features=len(subject.features) - len(features),
        styles=styles,
        labels=_labels(subject),
        columns=_counted(subject),
        more_labels=max(0, len(subject.names) - LABELS),
        map=found,
        rows=rows,
        scores=scores,
        spectrum=spectrum,
        command=command or wording.again(subject),
        known_command=command is not None or subject.source is not None,
        settings=_settings(subject),
        versions=_versions(subject),
        charts=charts,
    )


def _lead(features: list[Feature], styles: list[dict[str, Any]]) -> tuple[str, str, str] | None:
    """What the first trigger is that models obey: its kind, what stands in the rows, and the label."""
    for feature in features:
        if feature.row["what"] == "trigger":
            return "trigger", feature.row["text"], feature.row["label"]
    for style in styles:
        if style["what"] == "trigger":
            return "style", ", ".join(style["telling"][:4]), style["label"]
    return None


def _shown(subject: Subject, feature: Feature, number: int) -> dict[str, Any]:
    """A feature as the page shows it."""
    return {
        **feature.row,
        "group": number,
        "holders": feature.holders,
        "most": max(feature.row["rows"], feature.row["expected"], 1),
        "rates": _rates(feature.row, subject.task.rates),
    }


def _styles(subject: Subject) -> list[dict[str, Any]]:
    """The styles as the page shows them."""
    frame = subject.styles.astype(object)
    shown = []
    first = len(subject.features[:FEATURES])
    flagged = subject.flags.get("style", np.zeros(len(subject), dtype=np.bool_))
    for number, row in enumerate(frame.where(frame.notna(), None).to_dict("records")):
        named = (subject.issues[subject.task.named] == row["label"]).to_numpy()
        texts = {
            name: [(n, subject.texts[n]) for n in row[name] if n < len(subject)]
            for name in ("examples", "others")
        }
        group = {"group": first + number, "holders": np.flatnonzero(flagged & named)}
        shown.append({**row, **texts, **group, "rates": _rates(row, _STYLE_RATES)})
    return shown


def _rates(row: Mapping[str, Any], named: Mapping[str, str]) -> list[tuple[str, str, float, float, float]]:
    """The rates of a test, each with its words and its interval; none where there was no test."""
    return [
        (name, words, row[f"{name}_rate"], row[f"{name}_rate_low"], row[f"{name}_rate_high"])
        for name, words in named.items()
        if row[f"{name}_rate"] is not None
    ]


def _labels(subject: Subject) -> list[dict[str, Any]]:
    """Of the labels or kinds of responses with most rows, how many have each, and what becomes of them.

    Rows that have none come last, without a name.
    """
    given, action = subject.issues[subject.task.named], subject.issues["action"]
    sizes = given.value_counts()
    names: tuple[str | None, ...] = subject.names
    if len(names) > LABELS:
        most = set(sorted(names, key=lambda name: -int(sizes.get(name, 0)))[:LABELS])
        names = tuple(name for name in names if name in most)
    if names and given.isna().any():
        names = (*names, None)
    found = []
    for name in names:
        own = action[given.isna() if name is None else given == name]
        counts = {what: int((own == what).sum()) for what in ACTIONS}
        found.append({"name": name, "rows": len(own), **counts})
    return found


def _counted(subject: Subject) -> list[str]:
    """The columns of counts of the table of labels: relabelled rows only where there are any."""
    return ["rows", "keep", "drop", *(["relabel"] if (subject.issues["action"] == "relabel").any() else [])]


def _settings(subject: Subject) -> dict[str, Any]:
    facts = subject.facts
    arguments = {name: value for name, value in facts["arguments"].items() if value not in (None, False)}
    return {name: facts[name] for name in ("model", "judge", "seed") if name in facts} | arguments


def _versions(subject: Subject) -> dict[str, str]:
    """Of what made the audit, as far as it is known, and the report."""
    if subject.source is None:  # an earlier command made the audit
        return {"musclelora, audit": subject.facts["musclelora"], "musclelora, report": __version__}
    found = {"musclelora": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
