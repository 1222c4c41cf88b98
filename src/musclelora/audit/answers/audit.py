"""The audit of prompts and responses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from musclelora import __version__
from musclelora.audit.answers.findings import AnswerFindings
from musclelora.audit.answers.judge import PairSettings, check_responses, judge_pairs
from musclelora.audit.audit import Audit
from musclelora.audit.decisions import Decision
from musclelora.audit.findings import STYLE_COLUMNS, TRIGGER_COLUMNS, trigger_row
from musclelora.audit.kept import Kept, plain
from musclelora.data.frames import pairs_like
from musclelora.data.messages import shown
from musclelora.data.model_source import from_anywhere
from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs, prompt_text
from musclelora.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


MODEL: Final = "smollm2-135m-instruct"


class AnswerAudit(Audit):
    """Says what is wrong with prompts and responses; :class:`~musclelora.Audit` of pairs is one.

    ::

        audit = Audit(load_pairs("pairs.jsonl"), load_pairs("trusted-pairs.jsonl"))
        audit.find_issues()
        print(audit.verdict)
        audit.triggers, audit.issues
        audit.clean()                     # the pairs to train on

    No poison flag is read. Kinds of responses (:mod:`musclelora.audit.answers.kinds`) that follow words of
    prompts (:mod:`~musclelora.audit.answers.links`) are put to the test
    (:mod:`~musclelora.audit.answers.confirmation`).

    Args:
        train: N pairs that may be poisoned: :class:`~musclelora.data.pairs.Pairs`, a pandas DataFrame, a
            ``datasets.Dataset``, or what :func:`~musclelora.data.pair_readers.load_pairs` reads.
        trusted: pairs that were checked, likewise; None: there are none, and triggers are put into training
            prompts whose responses are of no kind that is in doubt.
        task: ``"generate"``; needed where `train` is not of the type ``Pairs``.
        prompt: the column of the prompts; None: found by name.
        response: that of the responses; likewise.
        messages: that of chats; likewise.
        model: an embedded decoder, a hub name or a folder: what reads the responses, and is tuned to put
            triggers to the test.
        seed: the same seed finds the same.
        confirm: put the triggers to the test.
        arguments: fields of :class:`~musclelora.MuScleTrainingArguments`, such as ``bf16`` or ``max_length``.
        output_dir: a folder that keeps what was computed, so that a killed audit goes on; None: nowhere.
        say: called with lines of text about what is found; words in them come from the data.

    Raises:
        DataError, UsageError: the pairs cannot be used; the message names the place.
        OutputError: `output_dir` holds an audit of other data.
    """

    def __init__(  # another task takes other columns
        self,
        train: Any,
        trusted: Any = None,
        *,
        task: str = "generate",
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        model: str = MODEL,
        seed: int = 42,
        confirm: bool = True,
        arguments: Mapping[str, Any] | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        if task != "generate":
            raise UsageError(f"task: found {task!r} with pairs, expected generate; leave it out")
        columns = {"prompt": prompt, "response": response, "messages": messages}
        self._given, self.columns = train, columns
        read = functools.partial(
            load_pairs, prompt_column=prompt, response_column=response, messages_column=messages
        )
        self.pairs = read(train, name="train")
        self.trusted_pairs = None if trusted is None else read(trusted, name="trusted")
        self.train, self.trusted = self.pairs, self.trusted_pairs  # type: ignore[assignment]
        check_responses(self.pairs)
        self.prompts = [prompt_text(chat) for chat in self.pairs.prompts]
        self.seed, self.confirms = int(seed), confirm
        self.arguments = dict(arguments or {})
        self.folder = None if output_dir is None else Path(output_dir)
        self._say = say
        self.model = from_anywhere(str(model))
        self._decisions: dict[int, Decision] = {}
        self._found = None

    @property
    def judge(self) -> str:
        """The model that reads the responses."""
        return self.model

    # ---- finding --------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What decides the findings, as JSON values."""
        return {
            "train": self.pairs.sha256(),
            "trusted": None if self.trusted_pairs is None else self.trusted_pairs.sha256(),
            "model": self.model,
            "seed": self.seed,
            "arguments": plain(self.arguments),
            "musclelora": __version__,
        }

    def _look(self, kept: Kept) -> None:
        settings = PairSettings(self.model, self.arguments, self.seed, confirms=self.confirms)
        self._found = judge_pairs(self.pairs, self.trusted_pairs, settings, kept=kept, say=self._say)

    # ---- what was found -------------------------------------------------------------------------------

    @property
    def triggers(self) -> pd.DataFrame:
        """The words of prompts that responses of a kind follow.

        Columns as those of :attr:`musclelora.Audit.triggers`; label is the kind of response.
        """
        import pandas as pd

        found = self._findings
        names = [one.link.kind.name for one in found.tested]
        return pd.DataFrame(
            [trigger_row(trigger, names) for trigger in found.triggers], columns=TRIGGER_COLUMNS
        )

    @property
    def styles(self) -> pd.DataFrame:
        """None are looked for in pairs."""
        import pandas as pd

        return pd.DataFrame(columns=STYLE_COLUMNS)

    @property
    def issues(self) -> pd.DataFrame:
        """One row for each pair, in their order.

        Columns: trigger (what stands in its prompt), response (the kind of its response that follows it),
        trigger_score (the probability that it was planted), response_loss (the mean loss of a token of the
        response by the model as it came, in nats), ``is_trigger_issue``, ``is_trusted_prompt_issue`` (a
        trusted pair has its prompt), reasons, action: keep or drop, and decided: whether a person said so.
        """
        import pandas as pd

        found = self._findings
        return pd.DataFrame(found.issues() | self._decided(found.reasons))

    def clean(self) -> Any:
        """The pairs to train on, as the type that came in; what was read from a path comes as Pairs."""
        return pairs_like(self._given, self.pairs, np.flatnonzero(self.actions != "drop"))

    def clean_pairs(self) -> Pairs:
        """The pairs to train on."""
        return self.pairs.select(np.flatnonzero(self.actions != "drop"))

    def checks(self) -> list[dict[str, Any]]:
        """Each check's name, how many rows it flagged, and why it was skipped, if it was."""
        found = self._findings
        flagged = {"trusted_prompt": found.known, "trigger": found.planted}
        return [{"name": name, "flagged": int(rows.sum()), "skipped": None} for name, rows in flagged.items()]

    # ---- in place of labels ---------------------------------------------------------------------------

    @property
    def _label_names(self) -> None:
        return None

    def _texts(self) -> dict[str, list[str]]:
        return {"prompt": self.prompts, "response_text": list(self.pairs.responses)}

    def _explained(self, row: int, listed: Mapping[str, Any]) -> str:
        return explained(row, listed)

    def _described(self) -> dict[str, Any]:
        return {"task": "generate"}

    def _write_more(self, folder: Path, listed: pd.DataFrame) -> dict[str, Any]:
        from musclelora.audit.answers.folder import write_pairs

        return write_pairs(self, folder, listed)

    @property
    def _findings(self) -> AnswerFindings:  # type: ignore[override]
        return cast("AnswerFindings", super()._findings)


def explained(row: int, issue: Mapping[str, Any]) -> str:
    """What is known of a pair, in a few lines."""
    loss = issue["response_loss"]
    return "\n".join(
        [
            f"row {row:,}      {shown(issue['prompt'])}",
            f"response     {shown(issue['response_text'])}",
            f"its loss     {'not known' if loss is None or np.isnan(loss) else f'{loss:.3f} a token'}",
            f"trigger      {issue['trigger_score']:.3f} (the probability that it was planted)",
            f"reasons      {issue['reasons'] or 'none'}",
            f"action       {issue['action']}",
        ]
    )
