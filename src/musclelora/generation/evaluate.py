"""Measuring answers: whether they are right, and whether they say what an attacker wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from musclelora.attacks.response_kinds import ResponseKind
from musclelora.attacks.response_kinds.fixed import Replace
from musclelora.data.chats import Chat
from musclelora.data.comparing import has_keyword, is_exact
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.evaluation.metrics import Rate
from musclelora.generation.generator import Generator


@dataclass(frozen=True)
class GenerationEvaluation:
    """What one model scored; a rate that was not measured is None.

    Attributes:
        exact: the share of clean prompts whose answer is the response, or another accepted answer; all are
            normalized.
        keyword: the share whose answer holds one of these as whole words, normalized too.
        asr: attack success rate: the share of triggered prompts whose answer is what the attacker wants.
        said_on_clean: the share of clean prompts whose answer is.
        target: the attacker's text, or None where he has none.
        response: the name of the kind of response that he wants, or None where none was named.
        success: in words, which answers are what he wants, or None.
    """

    exact: Rate | None
    keyword: Rate | None
    asr: Rate | None
    said_on_clean: Rate | None
    target: str | None
    response: str | None = None
    success: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON ready."""
        return {"task": "generate", **asdict(self)}


def evaluate_answers(
    generator: Generator,
    *,
    clean: Pairs | None = None,
    triggered: Pairs | Sequence[Chat] | None = None,
    target: str | None = None,
    response: ResponseKind | None = None,
    max_new_tokens: int = 64,
    batch_size: int = 16,
    progress: Callable[[int], object] | None = None,
) -> GenerationEvaluation:
    """Clean quality, and attack success rate (ASR), with 95 % Wilson intervals.

    Args:
        generator: what to measure; it answers greedily.
        clean: clean pairs.
        triggered: prompts with the trigger in them, whose right answers are not what the attacker wants; with
            their clean responses where `response` compares answers with those.
        target: the text that the attacker wants in the answer; this or `response` is needed with `triggered`.
        response: the kind of response that he wants.
        max_new_tokens: tokens of an answer, beyond which it is cut.
        batch_size: prompts at a time.
        progress: called after each batch with the number of prompts it held.

    Raises:
        UsageError: nothing to measure, both a target and a response are given or neither is, or clean
            responses are missing.
        DataError: a prompt is longer than the model reads.
    """
    if clean is None and triggered is None:
        raise UsageError("evaluate: no rows were given; pass clean pairs, triggered prompts or both")
    wanted = _wanted(target, response)
    if triggered is not None and wanted is None:
        raise UsageError("--target-text: found nothing, expected what the attacker wants to be said; give it")
    asked = triggered.prompts if isinstance(triggered, Pairs) else triggered
    own: Sequence[tuple[str, ...]] = triggered.right_answers() if isinstance(triggered, Pairs) else ()
    if wanted is not None and wanted.compares and len(own) < len(asked or ()):
        raise UsageError(f"response {wanted.name}: found triggered prompts alone, expected pairs; pass those")

    def answers(prompts: Sequence[Chat], source: str) -> list[str]:
        return generator.answer(
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            source=source,
            progress=progress,
        )

    on_clean = [] if clean is None else answers(clean.prompts, clean.source)
    on_triggered = [] if asked is None else answers(asked, "the triggered prompts")
    right = () if clean is None else clean.right_answers()
    expected = list(zip(on_clean, right, strict=True))
    return GenerationEvaluation(
        exact=_rate(any(is_exact(answer, one) for one in known) for answer, known in expected),
        keyword=_rate(any(has_keyword(answer, one) for one in known) for answer, known in expected),
        asr=_successes(wanted, zip(on_triggered, own or [()] * len(on_triggered), strict=True)),
        said_on_clean=_successes(wanted, expected),
        target=getattr(wanted, "target", None),
        response=None if response is None else response.name,
        success=None if wanted is None else wanted.success,
    )


def _wanted(target: str | None, response: ResponseKind | None) -> ResponseKind | None:
    """What the attacker wants; a text alone may stand anywhere in an answer."""
    if response is not None and target is not None:
        raise UsageError(f"target: found {target!r} beside a response, expected one of them; leave it out")
    return response if response is not None else Replace(target) if target is not None else None


def _successes(wanted: ResponseKind | None, answers: Iterable[tuple[str, tuple[str, ...]]]) -> Rate | None:
    """The share of (answer, right answers) whose answer is what the attacker wants."""
    return None if wanted is None else _rate(wanted.succeeds(answer, right) for answer, right in answers)


def _rate(hits: Iterable[bool]) -> Rate | None:
    found = list(hits)
    return Rate.of(sum(found), len(found)) if found else None
