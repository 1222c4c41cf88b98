"""What the rows of each task are: their columns, what may be decided of them, and how the page words it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Task:
    """What the rows of a task are. Columns are those of :attr:`Subject.issues`.

    Attributes:
        name: as ``--task`` takes it.
        rows: what its rows are called.
        text: the column of the texts that triggers stand in.
        said: that of the texts that are given to these; None: rows have a label instead.
        named: that of the label, or of the kind of response; None in it: the row has none.
        suggested: that of the label that the row should have; None: rows have no label.
        score: that of how well a text and what is given to it go together.
        low_first: whether a low score speaks against a row, rather than a high one.
        scores: those of the probability that the row was planted.
        actions: what may be decided of a row.
        mapped: whether there is a map of the rows.
        rates: how the page words each rate of a confirmation.
        words: how it words the rest, by name; every task has the same names.
    """

    name: str
    rows: str
    text: str
    said: str | None
    named: str
    suggested: str | None
    score: str
    low_first: bool
    scores: tuple[str, ...]
    actions: tuple[str, ...]
    mapped: bool
    rates: Mapping[str, str]
    words: Mapping[str, str]


CLASSIFY: Final = Task(
    name="classify",
    rows="rows",
    text="text",
    said=None,
    named="given_label",
    suggested="suggested_label",
    score="label_score",
    low_first=True,
    scores=("trigger_score", "style_score"),
    actions=("keep", "drop", "relabel"),
    mapped=True,
    rates={
        "flip": "the trigger, to a model of these rows",
        "control": "random words, to the same model",
        "natural": "the trigger, to models of trusted rows alone",
    },
    words={
        "text": "text",
        "said": "given label",
        "named": "given label",
        "score": "label score",
        "search": "Search texts",
        "target": "Target label",
        "leads to": "A model that learns from them answers",
        "no proof": "a trigger that the judge does not tell from meaning is not found.",
        "never seen": "What the judge cannot see: a trigger that it does not tell from meaning is not found.",
        "triggers": "What labels follow",
        "what a trigger is": "A feature counts as a trigger when two things hold: rows that have it have the "
        "label more often than natural words explain, and a model that learned from these rows turns other "
        "texts to the label when it is put in.",
        "goes with": "goes with",
        "with it": "Rows with it",
        "observed": "with the label",
        "tested": "Shown in trusted rows of other labels: how many turn",
        "turn": "texts that turn",
        "where": "in the text",
        "follows": "label",
        "with it and so": "with label",
        "seen": "rows with the label",
        "no trigger": "No word, pair of words, beginning, end or character goes with a label beyond what the "
        "trusted rows explain.",
        "section": "Labels",
        "kinds": "The labels",
        "by kind": "Rows by given label, and what becomes of them",
        "kind": "label",
        "more kinds": "more labels have fewer rows",
        "hashes": "texts, labels and label names",
    },
)
"""Texts with labels."""

GENERATE: Final = Task(
    name="generate",
    rows="pairs",
    text="prompt",
    said="response_text",
    named="response",
    suggested=None,
    score="response_loss",
    low_first=False,
    scores=("trigger_score",),
    actions=("keep", "drop"),
    mapped=False,
    rates={
        "flip": "the trigger, to a model tuned on these pairs",
        "control": "random words, to the same model",
        "natural": "the trigger, to the model as it came",
    },
    words={
        "text": "prompt",
        "said": "response",
        "named": "kind of response",
        "score": "loss a token",
        "search": "Search prompts and responses",
        "target": "Target response",
        "leads to": "A model that is tuned on them leans towards",
        "no proof": "a trigger whose responses share no phrase is not found.",
        "never seen": "What no phrase shows: a trigger whose responses share none is not found.",
        "triggers": "What responses follow",
        "what a trigger is": "Words count as a trigger when two things hold: prompts that have them are "
        "answered with a kind of response more often than natural words explain, and a model that was tuned "
        "on these pairs leans towards it when they are put into other prompts.",
        "goes with": "is answered with",
        "with it": "Prompts with it",
        "observed": "answered so",
        "tested": "Put into clean prompts: in how many a model leans towards that response",
        "turn": "prompts that turn",
        "where": "in the prompt",
        "follows": "answered with",
        "with it and so": "answered so",
        "seen": "prompts that are answered so",
        "no trigger": "No word, pair of words, beginning, end or character of prompts is answered with a "
        "kind of response beyond what natural words explain.",
        "section": "Responses",
        "kinds": "Kinds of responses",
        "by kind": "Pairs by kind of response, and what becomes of them",
        "kind": "kind",
        "more kinds": "more kinds have fewer pairs",
        "hashes": "prompts and responses",
    },
)
"""Prompts with responses."""
