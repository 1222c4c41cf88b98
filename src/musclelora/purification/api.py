"""From data that may be poisoned to a clean model, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from musclelora.adapter import DEFAULT_DECODER
from musclelora.audit import Audit, SavedAudit
from musclelora.audit.answers import AnswerAudit, SavedAnswerAudit
from musclelora.audit.judges import AUTO
from musclelora.data import load_pairs, load_table
from musclelora.data.embedded import EMBEDDED_MODELS
from musclelora.data.pairs import Pairs
from musclelora.data.table import Table, fingerprint
from musclelora.errors import UsageError
from musclelora.purification.generation_train import train_generator
from musclelora.purification.run import GenerationRun, Run
from musclelora.purification.train import train_classifier

Fit = Callable[..., Run | GenerationRun]


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
    audit: Audit | SavedAudit | SavedAnswerAudit | None = None,
    task: str | None = None,
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
) -> Run | GenerationRun:
    """Train a clean model on rows that may be poisoned.

    It is what `musclelora train` does by default: the rows are audited, what labels follow beyond what the
    trusted rows explain is taken out of the loss, doubtful rows are left out, and the trusted rows are
    trained on with the others (:mod:`musclelora.purification.auto`).

    Args:
        train: N rows that may be poisoned: a pandas DataFrame, a ``datasets.Dataset``, a
            :class:`~musclelora.Table`, or what :func:`~musclelora.load_table` reads.
        trusted: about 100 rows that were checked, with the same labels.
        output_dir: the run folder to write.
        audit: of the same rows; a person's decisions in it count. None: the rows are audited here.
        task: ``"classify"``, labels of texts, or ``"generate"``, responses to prompts; None: as `train` and
            `audit` are of. To generate, `trusted` may be None, and `text` and `label` are the columns of the
            prompts and the responses.
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
    if _generates(task, train, audit):
        fit, facts = _pairs(train, trusted, audit, {"prompt_column": text, "response_column": label})
        fit, default = partial(fit, confirm=confirm is not False), DEFAULT_DECODER
    else:
        fit, facts = _rows(train, trusted, audit, {"text_column": text, "label_column": label})
        fit, default = partial(fit, judge=judge, confirm=confirm), next(iter(EMBEDDED_MODELS))
    chosen = {**facts.get("arguments", {}), **(arguments or {})}
    return fit(
        output_dir,
        model=model or facts.get("model") or default,
        arguments={**chosen, "seed": facts.get("seed", 42) if seed is None else seed},
        resume=resume,
        overwrite=overwrite,
        say=say,
    )


def _generates(task: str | None, train: Any, audit: object) -> bool:
    """Whether a model that answers is asked for."""
    if task not in (None, "classify", "generate"):
        raise UsageError(f"task: found {task!r}, expected classify or generate")
    of_pairs = isinstance(train, Pairs) or isinstance(audit, AnswerAudit | SavedAnswerAudit)
    return task == "generate" or (task is None and of_pairs)


def _rows(train: Any, trusted: Any, audit: object, columns: Mapping[str, Any]) -> tuple[Fit, dict[str, Any]]:
    """What trains on labelled texts, and what an audit of them was made with."""
    table = load_table(train, name="train", **columns)
    checked = load_table(trusted, label_names=table.label_names, name="trusted", **columns)
    if isinstance(audit, AnswerAudit | SavedAnswerAudit):
        raise UsageError('audit: it is of pairs, expected one of labels; leave it out, or task="generate"')
    if not isinstance(audit, Audit | SavedAudit):
        return partial(train_classifier, train=table, trusted=checked), {}
    facts = audit.facts()
    check_audited(facts, checked)
    table, judgement = audit.labelled(table), audit.judgement
    return partial(train_classifier, train=table, trusted=checked, judgement=judgement), facts


def _pairs(train: Any, trusted: Any, audit: object, columns: Mapping[str, Any]) -> tuple[Fit, dict[str, Any]]:
    """What trains on prompts and responses, and what an audit of them was made with."""
    pairs = load_pairs(train, name="train", **columns)
    checked = None if trusted is None else load_pairs(trusted, name="trusted", **columns)
    if audit is None:
        return partial(train_generator, train=pairs, trusted=checked), {}
    if not isinstance(audit, AnswerAudit | SavedAnswerAudit):
        raise UsageError("audit: it is of labels, expected one of pairs; leave it out, or audit the pairs")
    facts = audit.facts()
    if facts["train"] != pairs.sha256():
        raise UsageError(f"audit: it is of other rows than {pairs.source}; audit these")
    if checked is not None and facts["trusted"] != checked.sha256():
        raise UsageError(
            f"audit: it was made with other trusted rows than {checked.source}; pass those, or audit anew"
        )
    return partial(train_generator, train=pairs, trusted=checked, audit=audit), facts
