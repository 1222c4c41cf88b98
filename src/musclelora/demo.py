"""The demo: poison BBC news, defend against it, and put every method in one table.

It runs on the embedded model and corpus alone. Every number but the attack success rates comes about without
a look at poison flags: `musclelora` is what `musclelora train` does by itself, `published` the published
method with its preset, and the settings are the same for both attacks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musclelora.attacks import LabelMode, get_trigger, poison, trigger_test_set
from musclelora.attacks.base import Trigger
from musclelora.data import bbc_news, stratified_split
from musclelora.data.table import Table
from musclelora.errors import OutputError
from musclelora.files import LOCK, held, write_json
from musclelora.outputs import check_output

ATTACKS = ("addsent", "badnets")
METHODS = ("oracle", "vanilla", "lora", "trusted-only", "published", "musclelora")
# The sentence of AddSent is about a film: towards "entertainment" it would push an honest model as well.
TARGET = "business"
RATE = 0.1
LABEL_MODE: LabelMode = "mix"
TRAIN_ROWS, TRUSTED_ROWS, TEST_ROWS = 512, 96, 500
# Articles are cut to their headline and first sentences: enough to tell the class, and a trigger put anywhere
# in them is read by the model.
WORDS, MAX_LENGTH = 40, 64
_MARK = "demo.json"
_FORMAT = 2  # in the first, `musclelora` was the published method
_LEVERS = {"oracle": "full", "vanilla": "full", "published": "musclelora"}
# Few rows make few steps: at the usual 5e-5 and 32 rows a step the fully trained models stay half trained.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    name: {"learning_rate": 2e-4, "per_device_train_batch_size": 16} for name in ("oracle", "vanilla")
}


class Split(NamedTuple):
    """The tables of one demo run."""

    train: Table
    trusted: Table
    test: Table


def split_corpus(seed: int) -> Split:
    """Training and trusted rows drawn by `seed`; the test rows are the same for every seed.

    Of articles that begin alike, one is kept, so that no text is in two of the tables.
    """
    corpus = short_corpus()
    rest, test = stratified_split(corpus, [len(corpus) - TEST_ROWS, TEST_ROWS], seed=0)
    tested = set(test.texts)
    first = {text: row for row, text in reversed(list(enumerate(rest.texts))) if text not in tested}
    rest = rest.select(sorted(first.values()))
    train, trusted = stratified_split(rest, [TRAIN_ROWS, TRUSTED_ROWS], seed=seed)
    return Split(train, trusted, test)


def short_corpus(words: int = WORDS) -> Table:
    """BBC news, each article cut to its first `words`."""
    corpus = bbc_news()
    return dataclasses.replace(corpus, texts=tuple(" ".join(text.split()[:words]) for text in corpus.texts))


def run_demo(
    output: Path,
    *,
    seeds: Iterable[int] = (0,),
    bf16: bool | None = None,
    say: Callable[[str], object] = print,
) -> list[dict[str, Any]]:
    """Train every method on every attack and seed, and measure it.

    Finished runs below `output` are kept: a demo that was interrupted goes on.

    Args:
        output: the folder to write.
        seeds: of the drawn rows, the poisoning and the training.
        bf16: train under bfloat16 autocast; None: as the demo in `output` does, else where it pays.
        say: called with a line before each run.

    Returns:
        One row for each attack, method and seed: cacc, asr (rates), excess_asr, cacc_gap, seconds. They are
        also in ``results.json``, with ``results.png`` beside it.

    Raises:
        OutputError: `output` holds something else than a demo or that of another version, or it cannot be
            written.
    """
    check_output(output, folder=True)
    with held(output, "musclelora demo"):
        return _run_demo(output, tuple(seeds), bf16, say)


def _run_demo(
    output: Path, seeds: tuple[int, ...], bf16: bool | None, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    if not (output / _MARK).exists() and any(entry.name != LOCK for entry in output.iterdir()):
        raise OutputError(f"{output}: it holds something else than a demo; name another output")
    begun = _begun(output)
    if bf16 is None:
        from musclelora.training.hardware import bf16_pays

        bf16 = bf16_pays() if begun is None else begun
    write_json(output / _MARK, {"format": _FORMAT, "bf16": bf16})
    cells = [(seed, attack, method) for seed in seeds for attack in ATTACKS for method in METHODS]
    rows: list[dict[str, Any]] = []
    for number, (seed, attack, method) in enumerate(cells, 1):
        say(f"[{number}/{len(cells)}] seed {seed}, {attack}: {method}")
        row = {
            "attack": attack,
            "method": method,
            "seed": seed,
            **_measure(output, seed, attack, method, bf16),
        }
        # The oracle comes first for every seed and attack.
        oracle = row if method == "oracle" else next(r for r in rows if _is_oracle_of(r, row))
        row["excess_asr"] = row["asr"]["value"] - oracle["asr"]["value"]
        row["cacc_gap"] = oracle["cacc"]["value"] - row["cacc"]["value"]
        rows.append(row)
        write_json(
            output / "results.json", {"settings": _settings(seeds, bf16), "mean": summary(rows), "rows": rows}
        )
    return rows


def _begun(output: Path) -> bool | None:
    """Whether the demo in `output` trains under bfloat16 autocast; None where none was begun.

    Raises:
        OutputError: it is that of another version, or its mark was altered.
    """
    from musclelora.state import State, check_state, read_values

    class Begun(State):
        bf16: bool

    mark, remedy = output / _MARK, "restore it, or name another output"
    try:
        begun = read_values(mark, OutputError, remedy=remedy)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(begun, dict) or begun.get("format") != _FORMAT:
        raise OutputError(f"{output}: another version of musclelora began this demo; name another output")
    check_state(begun, Begun, mark, OutputError, remedy=remedy)
    return bool(begun["bf16"])


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds, one row for each attack and method."""
    means: list[dict[str, Any]] = []
    for attack in ATTACKS:
        for method in METHODS:
            group = [row for row in rows if row["attack"] == attack and row["method"] == method]
            if not group:
                continue
            values = {
                "cacc": [row["cacc"]["value"] for row in group],
                "asr": [row["asr"]["value"] for row in group],
                "excess_asr": [row["excess_asr"] for row in group],
                "cacc_gap": [row["cacc_gap"] for row in group],
                "seconds": [row["seconds"] for row in group],
            }
            means.append(
                {"attack": attack, "method": method, "seeds": len(group)}
                | {name: float(np.mean(value)) for name, value in values.items()}
            )
    return means


def _measure(output: Path, seed: int, attack: str, method: str, bf16: bool) -> dict[str, Any]:
    from musclelora.evaluation import evaluate
    from musclelora.training import METHODS as TRAINING_METHODS
    from musclelora.training import fit

    split = split_corpus(seed)
    trigger: Trigger = get_trigger(attack)
    target = split.test.label_names.index(TARGET)
    poisoned = poison(split.train, trigger, target=target, rate=RATE, label_mode=LABEL_MODE, seed=seed)
    # Neither the oracle nor trusted-only sees a poisoned row: both attacks share one run of each.
    shared = method in ("oracle", "trusted-only")
    run = fit(
        output / "runs" / f"{seed}-{'any' if shared else attack}-{method}",
        train=split.train if method == "oracle" else poisoned,
        trusted=split.trusted if method in ("published", "musclelora", "trusted-only") else None,
        method=TRAINING_METHODS[_LEVERS.get(method, method)],
        arguments={
            "seed": seed,
            "max_length": MAX_LENGTH,
            "logging_steps": 4,
            "bf16": bf16,
            **_ARGUMENTS.get(method, {}),
        },
        preset="auto" if method == "musclelora" else "published",
        select_best="last",
        resume=True,
    )
    triggered = trigger_test_set(split.test, trigger, target=target, seed=seed)
    found = evaluate(run.classifier, clean=split.test, triggered=triggered, target=target).to_dict()
    return {"cacc": found["cacc"], "asr": found["asr"], "seconds": run.info["result"]["seconds"]}


def _is_oracle_of(other: dict[str, Any], row: dict[str, Any]) -> bool:
    return other["method"] == "oracle" and all(other[name] == row[name] for name in ("attack", "seed"))


def _settings(seeds: tuple[int, ...], bf16: bool) -> dict[str, Any]:
    return {
        "model": "all-minilm-l6-v2",
        "data": "bbc-news",
        "words": WORDS,
        "rows": {"train": TRAIN_ROWS, "trusted": TRUSTED_ROWS, "test": TEST_ROWS},
        "target": TARGET,
        "rate": RATE,
        "label_mode": LABEL_MODE,
        "seeds": list(seeds),
        "bf16": bf16,
    }
