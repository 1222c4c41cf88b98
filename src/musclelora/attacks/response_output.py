"""Writing poisoned prompts and responses, and what was done to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musclelora import __version__
from musclelora.attacks.responses import (
    ResponseAttack,
    ResponsePlan,
    plan_responses,
    plan_test_prompts,
    poisoned_by,
    triggered_by,
)
from musclelora.attacks.stealth import Perplexities, Stealth
from musclelora.attacks.writing import (
    Hashes,
    files_of,
    manifest_beside,
    parameters,
    refuse_existing,
    suffix_of,
    write_whole,
)
from musclelora.data.chats import Message, as_dicts
from musclelora.data.pairs import Pairs
from musclelora.data.writers import WRITERS, Cell
from musclelora.errors import UsageError
from musclelora.files import sha256_of
from musclelora.outputs import check_output

COLUMNS: Final = ("prompt", "response", "poisoned", "trigger")
CHAT_COLUMNS: Final = ("messages", "poisoned", "trigger")
_OF_CHATS: Final = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class ResponseRequest:
    """What to write.

    Attributes:
        attack: the attack; its rate does not count for `for_asr`.
        seed: a non-negative integer.
        output: the file.
        for_asr: only the triggered prompts, with their clean responses, to measure the ASR with.
        format: a suffix of `WRITERS` without its dot; None: by the suffix of `output`.
        overwrite: replace files that exist.
        split: the split of the source that was read, for the manifest.
        perplexity_model: what the perplexities are of, for the manifest.
        sample: prompts for the perplexity.
    """

    attack: ResponseAttack
    seed: int
    output: Path
    for_asr: bool = False
    format: str | None = None
    overwrite: bool = False
    split: str | None = None
    perplexity_model: str | None = None
    sample: int = 256


def write_poisoned_pairs(
    pairs: Pairs, request: ResponseRequest, *, perplexities: Perplexities | None = None
) -> dict[str, Any]:
    """Poison `pairs` and write them with a manifest beside them, all of it or none.

    Prompts of one message are written as texts, with the columns of `COLUMNS`; where there are others, all
    are chats whose last message is the response, with those of `CHAT_COLUMNS`, which JSON Lines can hold.

    Returns:
        The manifest: every parameter, the source's hash, the counts, the stealth figures and the file.

    Raises:
        UsageError: an option is out of range, or the format cannot hold chats.
        DataError: too few prompts can be triggered, or a response cannot be made.
        OutputError: a file exists, or cannot be written.
    """
    suffix = suffix_of(request.output, request.format)
    chats = any(len(prompt) > 1 for prompt in pairs.prompts)
    if chats and suffix not in _OF_CHATS:
        raise UsageError(
            f"--output: found a file of {suffix} for chats of several messages, expected one of "
            f"{', '.join(_OF_CHATS)}; name another"
        )
    manifest = manifest_beside(request.output)
    for path in (request.output, *([] if manifest is None else [manifest])):
        check_output(path, [pairs.source, *files_of(request.attack.trigger)], stream=path != manifest)
        refuse_existing(path, overwrite=request.overwrite)
    make = plan_test_prompts if request.for_asr else plan_responses
    plan = make(pairs, request.attack, seed=request.seed)
    made = triggered_by(pairs, plan) if request.for_asr else poisoned_by(pairs, request.attack, plan)
    names = [""] * len(made)
    for row in range(len(made)) if request.for_asr else plan.triggered.tolist():
        names[row] = request.attack.trigger.name
    stealth = Stealth(request.sample if perplexities else 0)
    for row in plan.triggered.tolist():
        stealth.add(pairs.prompts[row][-1].content, plan.questions[row])
    figures = stealth.figures(perplexities)

    def write(path: Path) -> None:
        WRITERS[suffix](path, CHAT_COLUMNS if chats else COLUMNS, _rows(made, names, chats=chats))

    return write_whole(
        {request.output: write},
        manifest,
        lambda hashes: _manifest(pairs, request, plan, made, figures, hashes),
    )


def _rows(pairs: Pairs, names: list[str], *, chats: bool) -> Iterator[tuple[Cell, ...]]:
    flags = [0] * len(pairs) if pairs.poisoned is None else pairs.poisoned.astype(int).tolist()
    for prompt, response, flag, name in zip(pairs.prompts, pairs.responses, flags, names, strict=True):
        if chats:
            yield as_dicts((*prompt, Message("assistant", response))), flag, name
        else:
            yield prompt[0].content, response, flag, name


def _manifest(
    pairs: Pairs,
    request: ResponseRequest,
    plan: ResponsePlan,
    made: Pairs,
    figures: dict[str, Any],
    hashes: Hashes,
) -> dict[str, Any]:
    attack = request.attack
    settings: dict[str, Any] = {
        "name": attack.trigger.name,
        "parameters": parameters(attack.trigger),
        "place": attack.place,
        "target": getattr(attack.kind, "target", None),
        "response": attack.kind.name,
        "response_parameters": parameters(attack.kind),
        "success": attack.kind.success,
    }
    if not request.for_asr:
        settings["rate"] = attack.rate
    return {
        "format": 1,
        "musclelora": __version__,
        "kind": "asr" if request.for_asr else "poisoned",
        "task": "generate",
        "source": {
            "name": pairs.source,
            "split": request.split,
            "sha256": sha256_of(pairs.source),
            "rows": len(pairs),
        },
        "seed": request.seed,
        "perplexity_model": request.perplexity_model,
        "attacks": [{**settings, **dataclasses.asdict(plan.count), "stealth": figures}],
        "rows": len(made),
        "poisoned_rows": 0 if made.poisoned is None else int(made.poisoned.sum()),
        "files": {path.name: digest for path, digest in hashes.items()},
    }
