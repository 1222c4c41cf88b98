"""What is found in pairs: kinds of responses, the words of prompts that they follow, both put to the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.answers.findings import AnswerFindings, TriedLink, decide
from musclelora.audit.answers.kinds import SOURCES, Responses, kinds_of
from musclelora.audit.answers.links import Links, find_links
from musclelora.audit.kept import Kept
from musclelora.audit.verdict import Confirmation
from musclelora.data.pairs import Pairs, prompt_text
from musclelora.errors import DataError, TrainingError
from musclelora.evaluation.metrics import Rate

if TYPE_CHECKING:
    from musclelora.adapter import Backbone
    from musclelora.audit.answers.reading import Reading

Say = Callable[[str], object]
_FEW, _LABELS = 0.05, 20  # distinct responses, of all and in number, up to which they are labels


@dataclass(frozen=True)
class PairSettings:
    """With what an audit looks at pairs.

    Attributes:
        model: the decoder that reads the responses, and is tuned to put triggers to the test.
        arguments: fields of the training arguments, such as ``bf16`` or ``max_length``.
        seed: the same seed finds the same.
        confirms: whether to put triggers to the test.
    """

    model: str
    arguments: Mapping[str, Any]
    seed: int
    confirms: bool = True


def judge_pairs(
    train: Pairs,
    trusted: Pairs | None,
    settings: PairSettings,
    *,
    kept: Kept | None = None,
    say: Say = lambda _: None,
) -> AnswerFindings:
    """Find which words of prompts kinds of responses follow, and put them to the test.

    Args:
        train: N pairs that may be poisoned.
        trusted: pairs that were checked; None: there are none.
        settings: with what to look at them.
        kept: where arrays are kept; None: nowhere.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError: the responses are labels, or a prompt is longer than the model reads.
        ModelError: see :func:`~musclelora.adapter.load_causal_backbone`.
    """
    check_responses(train)
    audit = _Audit(train, trusted, settings, kept or Kept(), say)
    reading = audit.reading()
    known = () if trusted is None else trusted.responses
    kinds = kinds_of(Responses(train.responses, known, reading))
    links = find_links(audit.prompts, [kind for kind in kinds if kind.phrase is not None])
    _say_links(links, say)
    _say_links(find_links(audit.prompts, [kind for kind in kinds if kind.phrase is None]), say)
    tested = audit.tested(links)
    checked = [
        f"{links.features:,} words, pairs, ends and characters of {len(train):,} prompts",
        *(source.looks_for for source in SOURCES.values() if not source.reads),
    ]
    audit.unchecked += [
        f"{source.looks_for}: what follows them is told and decides nothing, as natural words do too"
        for source in SOURCES.values()
        if source.reads
    ]
    if any(one.confirmation for one in tested):
        checked.append(f"{len(tested)} trigger{'' if len(tested) == 1 else 's'} put to the test")
    if trusted is None:
        audit.unchecked.append("what trusted pairs say: there are none")
    verdict = decide(tested, len(train), links.p_value, checked=checked, unchecked=audit.unchecked)
    return AnswerFindings(
        len(train), audit.prompts, links, tested, _known(train, trusted), reading.loss, verdict
    )


def check_responses(pairs: Pairs) -> None:
    """Raise where the responses are labels.

    Raises:
        DataError: a few texts are all the responses there are.
    """
    distinct = len({response.strip().casefold() for response in pairs.responses})
    if len(pairs) >= 2 * _LABELS and distinct <= min(_LABELS, _FEW * len(pairs)):
        raise DataError(
            f"{pairs.source}: its {len(pairs):,} responses are {distinct} distinct texts, expected answers; "
            "these are labels: audit them with --task classify"
        )


class _Audit:
    """The model of an audit of pairs, loaded when it is needed, and what it says."""

    def __init__(
        self, train: Pairs, trusted: Pairs | None, settings: PairSettings, kept: Kept, say: Say
    ) -> None:
        self._train, self._trusted, self._settings = train, trusted, settings
        self._kept, self._say = kept, say
        self.prompts = [prompt_text(chat) for chat in train.prompts]
        self.unchecked: list[str] = []
        self._loaded: Backbone | None = None

    def reading(self) -> Reading:
        """What the model as it came makes of the responses."""
        from musclelora.audit.answers.reading import Reading, read_responses

        def make() -> NDArray[np.float64]:
            arguments = self._settings.arguments
            limit, bf16 = arguments.get("max_length"), bool(arguments.get("bf16"))
            return read_responses(self._backbone(), self._train, limit, bf16=bf16).to_array()

        return Reading.from_array(self._kept.get("reading", (3, len(self._train)), None, make))

    def tested(self, links: Links) -> list[TriedLink]:
        """The links, put to the test; what was not is added to `unchecked`."""
        if not links.links:
            return []
        from musclelora.audit.answers.confirmation import confirm_links, trial_of

        tests = [trial_of(link, self.prompts, self._train.responses) for link in links.links]
        clean = self._clean(links)
        rates: list[Confirmation | None] = [None] * len(tests)
        settings = self._settings
        if not settings.confirms:
            self.unchecked.append("whether models obey the triggers: it was not asked for")
        elif not len(clean):
            self.unchecked.append("whether models obey the triggers: no pair is left to put them into")
        else:

            def make() -> NDArray[np.int64]:
                many = "trigger" if len(tests) == 1 else "triggers"
                self._say(f"testing      {len(tests)} {many} in {len(clean):,} clean prompts")
                found = confirm_links(
                    tests,
                    self._train,
                    clean,
                    self.prompts,
                    self._backbone(),
                    dict(settings.arguments),
                    seed=settings.seed,
                )
                return _counts(found)

            inputs = [[list(test.phrases), test.link.kind.name, len(test.link.kind.rows)] for test in tests]
            try:
                rates = _confirmations(self._kept.get("confirmation", (len(tests), 3, 2), inputs, make))
            except TrainingError as error:
                self.unchecked.append(f"whether models obey the triggers: {error}")
            else:
                if None in rates:
                    self.unchecked.append(
                        "whether models obey the triggers: no clean prompt leaves room for them and an answer"
                    )
        return [TriedLink(test.link, test.phrases, rate) for test, rate in zip(tests, rates, strict=True)]

    def _clean(self, links: Links) -> Pairs:
        """The pairs that triggers are put into."""
        if self._trusted is not None:
            return self._trusted
        doubtful = [rows for link in links.links for rows in (link.kind.rows, *link.holders)]
        return self._train.select(np.setdiff1d(np.arange(len(self._train)), np.concatenate(doubtful)))

    def _backbone(self) -> Backbone:
        if self._loaded is None:
            from musclelora.adapter import load_causal_backbone
            from musclelora.adapter.loading import loading_options

            self._loaded = load_causal_backbone(
                self._settings.model, **loading_options(self._settings.arguments)
            )
        return self._loaded


def _known(train: Pairs, trusted: Pairs | None) -> NDArray[np.int64]:
    """The numbers of training pairs whose prompt a trusted pair has."""
    prompts = set(() if trusted is None else trusted.prompts)
    return np.array([n for n, chat in enumerate(train.prompts) if chat in prompts], dtype=np.int64)


def _say_links(links: Links, say: Say) -> None:
    for link in links.links:
        first = link.shortcuts[0]
        say(
            f"link         {first.feature} is answered with {link.kind.name} in {first.labelled:,} of "
            f"{first.rows:,} prompts, where {first.expected:,.0f} are to be expected"
        )
    if not links.links:
        say(f"links        none among {links.tested:,} pairs of a word and a kind of response")


def _counts(found: list[Confirmation | None]) -> NDArray[np.int64]:
    """Hits and prompts of each rate, shape (tests, 3, 2); 0 of 0 where nothing could be asked."""
    counts = np.zeros((len(found), 3, 2), dtype=np.int64)
    for number, one in enumerate(found):
        if one is not None:
            rates = (one.flip, one.control, one.natural)
            counts[number] = [[round(rate.value * rate.n), rate.n] for rate in rates]
    return counts


def _confirmations(counts: NDArray[np.int64]) -> list[Confirmation | None]:
    """What :func:`_counts` was made of."""
    return [
        Confirmation(*(Rate.of(int(hits), int(n)) for hits, n in three)) if three[0, 1] else None
        for three in counts
    ]
