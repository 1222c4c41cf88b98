"""From data that may be poisoned to a clean model, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from musclelora.audit import Audit, SavedAudit
from musclelora.audit.judges import AUTO
from musclelora.data.embedded import EMBEDDED_MODELS
from musclelora.data.frames import as_table
from musclelora.data.table import Table, fingerprint
from musclelora.errors import UsageError
from musclelora.purification.run import Run
from musclelora.purification.train import train_classifier


def check_audited(facts: Mapping[str, Any], trusted: Table) -> None:
    """Raise unless an audit is by these trusted rows.

    Raises:
        UsageError: it is by others.
    """
    if facts["trusted"] != fingerprint(trusted):
        raise UsageError(
            f"audit: it was made with other trusted rows than {trusted.source}; pass those, or audit anew"
        )


def purify(
    train: Any,
    trusted: Any,
    *,
    output_dir: str | os.PathLike[str],
    audit: Audit | SavedAudit | None = None,
    text: str | None = None,
    label: str | None = None,
    model: str | None = None,
    judge: str = AUTO,
    seed: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    confirm: bool | None = False,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> Run:
    """Train a clean classifier on rows that may be poisoned.

    It is what `musclelora train` does by default: the rows are audited, what labels follow beyond what the
    trusted rows explain is taken out of the loss, doubtful rows are left out, and the trusted rows are
    trained on with the others (:mod:`musclelora.purification.auto`).

    Args:
        train: N rows that may be poisoned: a pandas DataFrame, a ``datasets.Dataset``, a
            :class:`~musclelora.Table`, or what :func:`~musclelora.load_table` reads.
        trusted: about 100 rows that were checked, with the same labels.
        output_dir: the run folder to write.
        audit: of the same rows; a person's decisions in it count. None: the rows are audited here.
        text: the column of the texts; None: found by name.
        label: that of the labels; likewise.
        model: an embedded model, a hub name or a folder; None: that of the audit, else the embedded one.
        judge: what says what rows mean, where no audit is given: see :class:`~musclelora.Audit`.
        seed: the same seed gives the same; None: that of the audit, else 42.
        arguments: fields of :class:`~musclelora.MuScleTrainingArguments`; they go before those of the audit.
        confirm: put the triggers of an audit that is made here to the test, for what `say` is told; None:
            where it costs less than the training.
        resume: go on with the run in `output_dir`.
        overwrite: replace the run in `output_dir`.
        say: called with lines of text about what is decided.

    Returns:
        The finished run: ``.classifier``, ``.evaluate()`` and ``.export()``.

    Raises:
        DataError, ModelError, OutputError, TrainingError, UsageError: each says what to do.
    """
    table = as_table(train, text=text, label=label, source="train")
    checked = as_table(trusted, text=text, label=label, label_names=table.label_names, source="trusted")
    judgement, facts = None, dict[str, Any]()
    if audit is not None:
        facts = audit.facts()
        check_audited(facts, checked)
        table, judgement = audit.labelled(table), audit.judgement
    chosen = {**facts.get("arguments", {}), **(arguments or {})}
    return train_classifier(
        output_dir,
        train=table,
        trusted=checked,
        model=model or facts.get("model") or next(iter(EMBEDDED_MODELS)),
        arguments={**chosen, "seed": facts.get("seed", 42) if seed is None else seed},
        judgement=judgement,
        judge=judge,
        confirm=confirm,
        resume=resume,
        overwrite=overwrite,
        say=say,
    )
