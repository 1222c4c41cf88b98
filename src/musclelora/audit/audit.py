"""The audit of a data set: what is wrong with it, which rows, and what to train on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
from numpy.typing import NDArray

from musclelora import __version__
from musclelora.audit.decisions import Decision, read_decisions
from musclelora.audit.evidence import Settings
from musclelora.audit.findings import (
    STYLE_COLUMNS,
    TRIGGER_COLUMNS,
    Findings,
    explained,
    style_row,
    trigger_row,
)
from musclelora.audit.folds import FOLDS, fold_numbers
from musclelora.audit.judges import AUTO, judge_model, preset_of
from musclelora.audit.kept import EVIDENCE, Kept, plain
from musclelora.audit.verdict import Verdict
from musclelora.data.embedded import EMBEDDED_MODELS
from musclelora.data.frames import rows_of
from musclelora.data.model_source import from_anywhere
from musclelora.data.pairs import Pairs
from musclelora.data.readers import load_table
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted, no_trusted
from musclelora.errors import DataError, UsageError
from musclelora.files import held

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.answers.folder import SavedAnswerAudit
    from musclelora.audit.judgement import Judgement
    from musclelora.audit.saved import SavedAudit


CLASSIFY: Final = "classify"
"""The task whose rows have labels."""


class Audit:
    """Says what is wrong with a labelled text data set, by some rows that were checked.

    ::

        audit = Audit(train, trusted)
        audit.find_issues()
        print(audit.verdict)
        audit.triggers, audit.issues      # data frames
        audit.clean()                     # the rows to train on

    No poison flag is read: everything comes from texts, given labels and the trusted rows.

    Args:
        train: N rows that may be poisoned: a pandas DataFrame, a ``datasets.Dataset``, a
            :class:`~musclelora.Table`, or what :func:`~musclelora.load_table` reads.
        trusted: about 100 rows that were checked, with the same labels.
        task: ``"classify"``: labels of texts; ``"generate"``: responses to prompts, whose audit is a
            :class:`~musclelora.audit.answers.audit.AnswerAudit` and takes other columns. Pairs are such rows.
        text: the column of the texts; None: found by name.
        label: the column of the labels; None: found by name.
        model: an embedded model, a hub name or a folder: what puts triggers to the test, and is to be trained
            on the clean rows.
        judge: the model that says what rows mean: ``"auto"``, the strongest that is installed;
            ``"backbone"``, `model` itself; or another one (:mod:`musclelora.audit.judges`).
        seed: the same seed finds the same.
        confirm: put the triggers to the test (:mod:`musclelora.audit.confirmation`).
        arguments: fields of :class:`~musclelora.MuScleTrainingArguments`, such as ``bf16`` or ``max_length``.
        output_dir: a folder that keeps what was computed, so that a killed audit goes on; None: nowhere.
        say: called with lines of text about what is found; words in them come from the data.

    Raises:
        DataError, UsageError: the rows cannot be used; the message names the place.
        OutputError: `output_dir` holds an audit of other data.
    """

    def __new__(cls, train: Any, *_: Any, **options: Any) -> Self:
        """An audit of pairs where `train` holds them or the task is to generate."""
        if cls is Audit and (isinstance(train, Pairs) or options.get("task", CLASSIFY) != CLASSIFY):
            from musclelora.audit.answers.audit import AnswerAudit

            return cast("Self", super().__new__(AnswerAudit))
        return super().__new__(cls)

    def __init__(
        self,
        train: Any,
        trusted: Any,
        *,
        task: str = CLASSIFY,  # noqa: ARG002 - __new__ has read it
        text: str | None = None,
        label: str | None = None,
        model: str = next(iter(EMBEDDED_MODELS)),
        judge: str = AUTO,
        seed: int = 42,
        confirm: bool = True,
        arguments: Mapping[str, Any] | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._given, self._label_column = train, label
        self.columns = {"text": text, "label": label}
        read = partial(load_table, text_column=text, label_column=label)
        self.train = read(train, name="train")
        if not any(any(map(str.isalpha, text)) for text in self.train.texts):
            raise DataError(
                f"{self.train.source}: no text has a letter in it; expected texts; name their column (text=, "
                "--text-column)"
            )
        check_trainable(self.train)
        names = self.train.label_names
        if trusted is None:
            raise no_trusted()
        self.trusted = read(trusted, label_names=names, name="trusted")
        check_same_labels(self.train, trusted=self.trusted)
        check_trusted(self.train, self.trusted)
        fold_numbers(self.trusted, FOLDS, seed)  # or what is wrong with them is said much later
        self.seed, self.confirms = int(seed), confirm
        self.arguments = dict(arguments or {})
        self.folder = None if output_dir is None else Path(output_dir)
        self._say = say
        self.model = from_anywhere(str(model))
        self._asked = judge
        self._decisions: dict[int, Decision] = {}
        self._found: Any = None

    @property
    def judge(self) -> str:
        """The model that says what rows mean.

        Raises:
            DataError, ModelError: the one that was asked for cannot.
        """
        return self._judge[0]

    @cached_property
    def _judge(self) -> tuple[str, str]:
        return judge_model(self._asked, self.model, self.train.texts)

    # ---- finding --------------------------------------------------------------------------------------

    def find_issues(self) -> Self:
        """Run every check, put the triggers to the test, and decide.

        Raises:
            DataError, ModelError, OutputError, TrainingError: each says what to do.
        """
        if self.folder is None:
            self._look(Kept())
            return self
        from musclelora.audit.folder import claim

        claim(self.folder, self.facts())
        with held(self.folder, "musclelora audit"):
            self._look(Kept(self.folder / EVIDENCE, self.facts()))
        return self

    def facts(self) -> dict[str, Any]:
        """What decides the findings, as JSON values."""
        return {
            "train": fingerprint(self.train),
            "trusted": fingerprint(self.trusted),
            "model": self.model,
            "judge": self.judge,
            "seed": self.seed,
            "arguments": plain(self.arguments),
            "musclelora": __version__,
        }

    def _look(self, kept: Kept) -> None:
        from musclelora.audit.judge import judge

        settings = self._settings()
        self._say(self._judge[1])
        self._found = judge(
            self.train, self.trusted, settings, confirm=self.confirms, kept=kept, say=self._say
        )
        for backbones in (settings.backbones, settings.judges):
            backbones.forget()  # the findings live longer

    def _settings(self) -> Settings:
        from musclelora.adapter import MuScleLoraConfig
        from musclelora.adapter.copies import Backbones

        preset = preset_of(self.model)
        arguments = {
            "per_device_train_batch_size": preset.batch_size,
            "num_train_epochs": preset.epochs,
            "learning_rate": preset.learning_rate,
            **self.arguments,
        }
        config = MuScleLoraConfig(**preset.adapter_fields())
        judge = None if self.judge == self.model else Backbones(self.judge)
        return Settings(Backbones(self.model), preset, config, arguments, self.seed, judge, shares=True)

    # ---- what was found -------------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict:
        """Poisoned, no sign of poison, or cannot tell; and why."""
        return self._findings.verdict

    @property
    def triggers(self) -> pd.DataFrame:
        """The features that labels follow, in the order in which they were found.

        Columns: feature, kind (of the feature), text (what stands in the rows), label, rows (that have it),
        observed (of these, rows with the label), expected (as far as the trusted rows explain), z, weight (in
        log-odds), p_value (family-wise), planted (the probability that a row with it and the label was), what
        (trigger, natural, suspected), confirmed, tested (the phrases that were put in together), flip_rate,
        control_rate, natural_rate (shares of rows that turn: :mod:`musclelora.audit.confirmation`), each rate
        with its ends ``_low`` and ``_high`` of a 95 % interval.
        """
        import pandas as pd

        return pd.DataFrame(
            [trigger_row(trigger, self.train.label_names) for trigger in self._findings.triggers],
            columns=TRIGGER_COLUMNS,
        )

    @property
    def styles(self) -> pd.DataFrame:
        """The ways of putting texts that a label follows beyond what the texts mean.

        Columns: label, rows (that were left out for it), telling (words and pairs of words that tell it),
        p_value, what (trigger, natural, suspected), confirmed, examples (training rows that have it most
        surely), others (rows of the label that have it least), and the rates of
        :func:`~musclelora.audit.confirmation.confirm_styles`, as those of :attr:`triggers`.
        """
        import pandas as pd

        return pd.DataFrame(
            [style_row(style, self.train.label_names) for style in self._findings.styles],
            columns=STYLE_COLUMNS,
        )

    @property
    def issues(self) -> pd.DataFrame:
        """One row for each training row, in their order.

        Columns: given_label, suggested_label, label_score (the predicted probability of the given label),
        trigger (the most telling one that the row has, with its label; else None), trigger_score and
        style_score (probabilities that the row was planted, see the checks), ``is_…_issue`` for each check,
        reasons, action: keep, drop or relabel, and decided: whether a person said so.
        """
        import pandas as pd

        found = self._findings
        names = np.array(self.train.label_names, dtype=object)
        labels = self.train.labels
        columns: dict[str, Any] = {
            "given_label": names[labels],
            "suggested_label": names[self._suggested()],
            "label_score": found.result("label").scores,
            "trigger": found.trigger_of_row,
            "trigger_score": found.trigger_scores,
            "style_score": found.result("style").scores,
        }
        for check in found.checks:
            result = found.result(check.name)
            if check.score and check.score not in columns:
                columns[check.score] = result.scores
            if check.name != "restored":
                flagged = found.planted if check.name == "trigger" else result.flagged
                columns[f"is_{check.name}_issue"] = flagged
        return pd.DataFrame(columns | self._decided(found.reasons))

    @property
    def actions(self) -> NDArray[np.object_]:
        """What is done with each row, shape (N,): keep, drop or, of rows with labels, relabel."""
        actions = np.where(self._dropped, "drop", "keep").astype(object)
        for row, decision in self._decisions.items():
            actions[row] = decision.action
        return actions

    def labelled(self, train: Table) -> Table:
        """The training rows that were audited, with the labels that a person decided.

        Raises:
            UsageError: other rows were audited.
        """
        if fingerprint(train) != fingerprint(self.train):
            raise UsageError(
                f"audit: it is of other rows than {train.source}; audit these, or pass those that were"
            )
        return replace(train, labels=self._labels())

    @property
    def judgement(self) -> Judgement:
        """What a training takes of it: :class:`~musclelora.audit.judgement.Judgement`."""
        found = self._findings
        drop = {row for row, decision in self._decisions.items() if decision.action == "drop"}
        keep = self._decisions.keys() - drop
        return found.judgement(keep=sorted(keep), drop=sorted(drop))

    def clean(self) -> Any:
        """The rows to train on, as the type that came in; what was read from a path comes as a Table."""
        return rows_of(
            self._given,
            self.train,
            np.flatnonzero(self.actions != "drop"),
            self._labels(),
            label=self._label_column,
        )

    def clean_table(self) -> Table:
        """The rows to train on, as a table."""
        table: Table = rows_of(self.train, self.train, np.flatnonzero(self.actions != "drop"), self._labels())
        return table

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """Sentence vectors of the training rows by the judge, shape (N, d); None where no check needed them.

        Rows with the text of a trusted row have none: they are NaN.
        """
        evidence = self._findings.evidence
        found = evidence.computed_vectors
        return None if found is None else evidence.over_train(found, np.nan)

    def checks(self) -> list[dict[str, Any]]:
        """Each check's name, how many rows it flagged, and why it was skipped, if it was."""
        found = self._findings
        return [
            {
                "name": check.name,
                "flagged": int(
                    (found.planted if check.name == "trigger" else found.result(check.name).flagged).sum()
                ),
                "skipped": found.result(check.name).skipped,
            }
            for check in found.checks
        ]

    def listed(self) -> pd.DataFrame:
        """The issues, before them each row's number from 0 and its texts."""
        issues = self.issues
        for place, (name, texts) in enumerate({"row": np.arange(len(issues)), **self._texts()}.items()):
            issues.insert(place, name, texts)
        return issues

    def quarantine(self) -> pd.DataFrame:
        """The rows that are not trained on as they are: those of :meth:`listed` that are dropped."""
        listed = self.listed()
        return listed[listed["action"] == "drop"].reset_index(drop=True)

    def explain(self, row: int) -> str:
        """Why a row is kept or dropped, in a few lines; words in it come from the data.

        Raises:
            UsageError: there is no such row.
        """
        if not 0 <= row < self._count:
            raise UsageError(f"row {row:,}: found {self._count:,} rows, expected a number below that")
        return self._explained(row, self.listed().iloc[row])

    def decide(self, decisions: str | os.PathLike[str] | pd.DataFrame | Iterable[Decision]) -> Self:
        """Take a person's decisions: they go before what the audit says.

        Args:
            decisions: a file or data frame with the columns row, action (keep, drop or, of rows with labels,
                relabel) and, for relabel, label; or :class:`~musclelora.audit.decisions.Decision` objects.

        Raises:
            DataError: a row, an action or a label is not known; nothing is taken then.
        """
        found = read_decisions(decisions, self._count, self._label_names)
        self._decisions |= {decision.row: decision for decision in found}
        return self

    def to_dict(self) -> dict[str, Any]:
        """What was found, as JSON values: the contents of ``audit.json``."""
        from musclelora.audit.folder import document

        return document(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the findings to a folder: see :mod:`musclelora.audit.folder`."""
        from musclelora.audit.folder import write_audit

        place = Path(folder)
        with held(place, "musclelora audit"):
            write_audit(self, place)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> SavedAudit | SavedAnswerAudit:
        """The findings that :meth:`save` or `musclelora audit` wrote.

        Raises:
            OutputError: there are none in the folder, or they were altered.
        """
        from musclelora.audit.saved import read_any_audit

        return read_any_audit(Path(folder))

    # ---- what another task has of its own -------------------------------------------------------------

    @property
    def _count(self) -> int:
        """How many rows are audited."""
        return len(self.train)

    @property
    def _dropped(self) -> NDArray[np.bool_]:
        """The rows that no person decided about and that are dropped, shape (N,)."""
        return self._findings.dropped

    @property
    def _label_names(self) -> tuple[str, ...] | None:
        """What a row may be relabelled as; None: it has no label."""
        return self.train.label_names

    def _texts(self) -> dict[str, list[str]]:
        """The texts of each row, by column."""
        return {"text": list(self.train.texts)}

    def _explained(self, row: int, listed: Mapping[str, Any]) -> str:
        return explained(row, listed["text"], listed)

    def _described(self) -> dict[str, Any]:
        """What ``audit.json`` says that it does not say of the other task."""
        from musclelora.audit.folder import plain_rows

        return {"label_names": list(self.train.label_names), "styles": plain_rows(self.styles)}

    def _write_more(self, folder: Path, listed: pd.DataFrame) -> dict[str, Any]:
        """Write the issues as Parquet, and what to train on; what ``audit.json`` has of it is returned."""
        from musclelora.audit.folder import write_rows

        return write_rows(self, folder, listed)

    # ---- by the way -----------------------------------------------------------------------------------

    def _decided(self, reasons: Sequence[Sequence[str]]) -> dict[str, Any]:
        """The last columns of issues: reasons, actions, whether a person decided (which is a reason too)."""
        said = [list(reason) for reason in reasons]
        decided = np.zeros(len(said), dtype=np.bool_)
        for row, decision in self._decisions.items():
            said[row].append(f"a person decided: {decision.action}")
            decided[row] = True
        return {
            "reasons": ["; ".join(reason) for reason in said],
            "action": self.actions,
            "decided": decided,
        }

    def _suggested(self) -> NDArray[np.int64]:
        """The label that each row should have: a person's word goes first."""
        suggested = self._findings.suggested.copy()
        for row, decision in self._decisions.items():
            if decision.action == "relabel":
                suggested[row] = self.train.label_names.index(str(decision.label))
        return suggested

    def _labels(self) -> NDArray[np.int64]:
        labels = self.train.labels.copy()
        for row, decision in self._decisions.items():
            if decision.action == "relabel":
                labels[row] = self.train.label_names.index(str(decision.label))
        return labels

    @property
    def _findings(self) -> Findings:
        if self._found is None:
            raise UsageError("audit: nothing has been looked for yet; call find_issues() first")
        found: Findings = self._found
        return found
