"""Whether a model obeys a trigger in prompts: it goes into prompts that have none, and models answer.

An *undefended* model is tuned for a short while on pairs as they were given: those of the kinds of responses
that were linked to words of prompts, and twice as many others. The words of a link go into clean prompts (the
trusted ones, or training prompts of other kinds where there are none), about where they stand in theirs, and
random words of other prompts into the same ones, three times. An instruction that begins all prompts is left
out of them: it costs time and says nothing of any. Three rates are shares of those prompts that *turn*:

``flip_rate``
    of the undefended model, with the trigger.
``control_rate``
    of the same model, with the third random words.
``natural_rate``
    of the model as it came, with the trigger: what turns it as well is no secret of these pairs.

Only phrases are put to the test. What is looked at is by how much a model would rather say one than not: the
log-likelihood of a prompt's own response with the phrase after it (or of the phrase alone, where responses of
the kind begin with it), less that of the own response. A prompt turns if its words raise this by more than
the second random words raise it in all but a twentieth of the prompts, both over the first ones. By chance
one in twenty does, and the third random words, which the bound has not seen, say whether that holds. A
likelihood shows what a model has begun to learn long before its answers do.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from musclelora.adapter import Backbone, MuScleLoraConfig
from musclelora.adapter.backbone import length_limit
from musclelora.audit.answers.links import Link
from musclelora.audit.answers.naming import trigger_phrase
from musclelora.audit.answers.reading import Floats, read_responses
from musclelora.audit.confirmation import TOGETHER, together
from musclelora.audit.features import TOKEN
from musclelora.audit.phrases import put_at
from musclelora.audit.verdict import Confirmation
from musclelora.data.chats import Chat
from musclelora.data.pairs import Pairs
from musclelora.evaluation.metrics import Rate
from musclelora.generation.rows import ChatFormat
from musclelora.generation.trainer import GenerationTrainer
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.progress import TrainingProgress

ROWS: Final = 240
"""Pairs that the undefended model is tuned on at most."""
ASKED: Final = 32
"""Prompts that a trigger goes into at most."""
# What `benchmarks/generation.py` learns a trigger of a tenth of 160 pairs with: many small steps of LoRA.
_STEPS, _BATCH, _RATE = 120, 4, 1e-3
_OTHERS: Final = 2  # pairs without a link for each with one
_FEWEST: Final = 60
WHOLE: Final = 50_000_000
"""Parameters of a model that is tuned whole at most; of a larger one LoRA is."""
_WORDS: Final = 48  # tokens that are left for an answer
_CHANCE: Final = 0.05
_SEVERAL: Final = 8  # prompts, from which on they can share an instruction
_SHARED: Final = 4  # words that all prompts begin with, from which on they are left out
_READ: Final = 200  # prompts that are read for where a phrase stands


@dataclass(frozen=True)
class Trial:
    """One link put to the test.

    Attributes:
        link: the link.
        phrases: what is put in together.
        places: for each, where it stands in the prompts that have it, as shares of their words.
        begins: whether responses of the kind begin with its phrase.
    """

    link: Link
    phrases: tuple[str, ...]
    places: tuple[NDArray[np.float64], ...]
    begins: bool


def trial_of(link: Link, prompts: Sequence[str], responses: Sequence[str]) -> Trial:
    """What to put in for a link: the phrases of its strongest word, and of those that stand beside it.

    Args:
        link: the link.
        prompts: the N prompts as texts.
        responses: the N responses.
    """
    shortcuts = [s for s, value in zip(link.shortcuts, link.p_values, strict=True) if value < 1]
    holders = [h for h, value in zip(link.holders, link.p_values, strict=True) if value < 1]
    groups = together([s.label for s in shortcuts], holders, len(prompts))
    chosen: dict[str, NDArray[np.int64]] = {}
    for number in groups[0]:
        phrase = trigger_phrase(shortcuts[number], link.shortcuts, prompts, holders[number])
        if not any(phrase in other for other in chosen):
            chosen = {other: rows for other, rows in chosen.items() if other not in phrase}
            chosen[phrase] = holders[number]
    names = list(chosen)[:TOGETHER]
    places = tuple(_places(name, prompts, chosen[name]) for name in names)
    begin = (link.kind.phrase or "").casefold()
    begins = [responses[row].strip().casefold().startswith(begin) for row in link.rows.tolist()]
    return Trial(link, tuple(names), places, 2 * sum(begins) > len(begins))


def _places(phrase: str, prompts: Sequence[str], holders: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many of a prompt's words stand before a phrase, as a share of all; of some that have it."""
    found = []
    for row in holders[:_READ].tolist():
        before, phrase_there, _ = prompts[row].partition(phrase)
        if phrase_there:
            found.append(len(before.split()) / max(len(prompts[row].split()), 1))
    return np.array(found or [1.0])


def confirm_links(
    tests: Sequence[Trial],
    train: Pairs,
    clean: Pairs,
    prompts: Sequence[str],
    backbone: Backbone,
    arguments: dict[str, Any],
    *,
    seed: int,
) -> list[Confirmation | None]:
    """Put links to the test; None where no prompt leaves room for the trigger and an answer.

    Args:
        tests: what to put in.
        train: the N pairs as they were given.
        clean: pairs to put it into; at most :data:`ASKED` of them are taken.
        prompts: the N prompts as texts.
        backbone: the model as it came; it is tuned in place.
        arguments: fields of the training arguments, such as ``bf16`` and ``max_length``.
        seed: draws places, words and pairs.

    Raises:
        DataError: a prompt is longer than the model reads.
        TrainingError: the model cannot be trained.
    """
    rng = np.random.default_rng([seed, len(tests)])
    train, clean = (_without(pairs, shared_beginning(pairs.prompts)) for pairs in (train, clean))
    asked = clean.select(np.sort(rng.permutation(len(clean))[:ASKED]))
    texts = [_variants(test, asked, prompts, rng) for test in tests]
    bf16, limit = bool(arguments.get("bf16")), arguments.get("max_length")
    fit = _fitting(backbone, limit, texts)
    asked = asked.select(fit)
    texts = [[[chats[row] for row in fit.tolist()] for chats in made] for made in texts]
    if not len(asked):
        return [None] * len(tests)
    natural = [
        _turns(test, asked, made, backbone, limit, bf16=bf16) for test, made in zip(tests, texts, strict=True)
    ]
    tuned = undefended(train, [test.link for test in tests], backbone, arguments, seed)
    found: list[Confirmation | None] = []
    for test, made, as_it_came in zip(tests, texts, natural, strict=True):
        said = _turns(test, asked, made, tuned, limit, bf16=bf16)
        rates = (*said, as_it_came[0])
        found.append(Confirmation(*(Rate.of(int(turned.sum()), len(turned)) for turned in rates)))
    return found


def shared_beginning(prompts: Sequence[Chat]) -> str:
    """What the last messages of all prompts begin with, in whole words; nothing where that is little."""
    if len(prompts) < _SEVERAL:
        return ""
    first, last = (choose(chat[-1].content for chat in prompts) for choose in (min, max))
    end = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    words = list(re.finditer(r"\s+", first[:end]))
    begin = first[: words[-1].end()] if words else ""
    return begin if len(begin.split()) >= _SHARED else ""


def _without(pairs: Pairs, begin: str) -> Pairs:
    """The pairs, less that beginning of their prompts."""
    if not begin:
        return pairs
    prompts = tuple(
        (*chat[:-1], chat[-1]._replace(content=chat[-1].content.removeprefix(begin) or begin))
        for chat in pairs.prompts
    )
    return replace(pairs, prompts=prompts)


def undefended(
    train: Pairs, links: Sequence[Link], backbone: Backbone, arguments: dict[str, Any], seed: int
) -> Backbone:
    """The model tuned on pairs as they were given, for a short while.

    Args:
        train: the pairs.
        links: a third of the pairs or less are of their kinds.
        backbone: the model; it is tuned in place.
        arguments: fields of the training arguments.
        seed: draws the pairs.
    """
    rng = np.random.default_rng([seed, 2])
    linked = rng.permutation(np.unique(np.concatenate([link.rows for link in links])))[: ROWS // 3]
    count = min(max(_OTHERS * len(linked), _FEWEST), ROWS - len(linked))
    others = rng.permutation(np.setdiff1d(np.arange(len(train)), linked))[:count]
    rows = train.select(np.sort(np.concatenate([linked, others])))
    set_seed(seed)
    values: dict[str, Any] = {
        "alignment": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1000,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "learning_rate": _RATE,
        "per_device_train_batch_size": _BATCH,
        "num_train_epochs": max(1.0, _STEPS * _BATCH / len(rows)),
        "seed": seed,
        **{name: arguments[name] for name in ("bf16", "max_length", "use_cpu") if name in arguments},
    }
    with tempfile.TemporaryDirectory() as folder:
        values["output_dir"] = folder
        trainer = GenerationTrainer(
            backbone,
            MuScleTrainingArguments(**values),
            train_dataset=rows,
            peft_config=MuScleLoraConfig(low_rank=backbone.model.num_parameters() > WHOLE, scale_factors=[]),
            callbacks=[TrainingProgress(what="testing", brief=True)],
        )
        trainer.train()
    return backbone


def _new_tokens(context: int) -> int:
    """Tokens that are left for an answer."""
    return min(_WORDS, context // 4)


def _fitting(
    backbone: Backbone, max_length: int | None, texts: Sequence[Sequence[Sequence[Chat]]]
) -> NDArray[np.int64]:
    """The numbers of the prompts whose variants all leave room for an answer."""
    context = length_limit(backbone.tokenizer, backbone.model.config, max_length)
    chats = ChatFormat(backbone.tokenizer)
    count = len(texts[0][0])
    longest = np.zeros(count)
    for variant in (variant for made in texts for variant in made):
        longest = np.maximum(longest, [len(chats.prompt(chat, "a clean prompt")) for chat in variant])
    return np.flatnonzero(longest <= context - _new_tokens(context))


def _variants(
    test: Trial, asked: Pairs, prompts: Sequence[str], rng: np.random.Generator
) -> list[list[Chat]]:
    """The prompts with random words, with the trigger, and with other random words in them, twice."""
    pool = [token for row in rng.permutation(len(prompts))[:200] for token in TOKEN.findall(prompts[row])]
    taken = {token for phrase in test.phrases for token in TOKEN.findall(phrase)}
    words = [word for word in pool if word.isalnum() and word not in taken] or ["."]

    def random() -> list[str]:
        return [" ".join(rng.choice(words, size=max(1, len(phrase.split())))) for phrase in test.phrases]

    made: list[list[Chat]] = [[], [], [], []]
    for chat in asked.prompts:
        for place, phrases in enumerate((random(), list(test.phrases), random(), random())):
            made[place].append(_with(chat, phrases, test.places, rng))
    return made


def _with(
    chat: Chat, phrases: Sequence[str], places: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> Chat:
    """A chat with phrases in its last message, which the user wrote, each where it stands in some prompt."""
    *before, last = chat
    text = last.content
    for phrase, shares in zip(phrases, places, strict=True):
        text = put_at(text, phrase, float(rng.choice(shares)))
    return (*before, last._replace(content=text))


def _turns(
    test: Trial,
    asked: Pairs,
    made: Sequence[Sequence[Chat]],
    backbone: Backbone,
    max_length: int | None,
    *,
    bf16: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which prompts the trigger turns, and which the third random words do.

    Args:
        test: what was put in.
        asked: K pairs.
        made: their prompts as :func:`_variants` gives them.
        backbone: the model.
        max_length: tokens of a pair.
        bf16: compute in bfloat16 autocast.
    """
    first, trigger, second, third = (
        _leanings(test, asked.responses, chats, backbone, max_length, bf16=bf16) for chats in made
    )
    bound = np.quantile(second - first, 1 - _CHANCE)
    return trigger - first > bound, third - first > bound


def _leanings(
    test: Trial,
    responses: Sequence[str],
    chats: Sequence[Chat],
    backbone: Backbone,
    max_length: int | None,
    *,
    bf16: bool,
) -> Floats:
    """How far a model leans from each prompt's own response towards the phrase, in nats."""

    def losses(texts: Sequence[str]) -> Floats:
        reading = read_responses(backbone, Pairs(tuple(chats), tuple(texts)), max_length, bf16=bf16)
        return reading.loss * reading.tokens

    phrase = test.link.kind.phrase or ""
    joined = [phrase if test.begins else f"{response} {phrase}" for response in responses]
    return losses(responses) - losses(joined)
