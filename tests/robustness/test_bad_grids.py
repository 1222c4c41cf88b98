"""Grids that cannot be run, or would never end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from table import Case, Change, nested, write

RUN = "benchmark run bad.yaml --output out"
DATA = "[{name: tiny, train: train.csv, test: test.csv, trusted: dev.csv, train_rows: 16, target: good}]"
GOOD = {
    "name": "tiny",
    "data": DATA,
    "attacks": "[addsent]",
    "models": "[model]",
    "trusted_sizes": "[6]",
    "defenses": "[lora]",
    "training": "{bf16: false, use_cpu: true, num_train_epochs: 1}",
}
# The files that a grid names are laid out because they are named here.
NAMED = "# train.csv test.csv dev.csv model\n"


def grid(text: str | bytes) -> list[Change]:
    """A grid of that text; the words of it that are parts are laid out."""
    written = write("bad.yaml", text)
    return [Change(("bad.yaml", "train.csv", "test.csv", "dev.csv", "model"), written.do)]


def having(**keys: str | None) -> list[Change]:
    """The good grid with other keys; None leaves one out."""
    return grid("".join(f"{key}: {value}\n" for key, value in {**GOOD, **keys}.items() if value is not None))


def data(**keys: str) -> list[Change]:
    """The good grid with other keys of its data."""
    inner = DATA[2:-2]
    entries = dict(entry.split(": ") for entry in inner.split(", "))
    entries |= keys
    return having(data="[{" + ", ".join(f"{key}: {value}" for key, value in entries.items() if value) + "}]")


def merge_bomb(depth: int = 30) -> str:
    """Mappings that take over all keys of two others, which take over all of two others, and so on."""
    lines = ["a0: &a0 {k0: 1, k1: 2}"]
    for level in range(1, depth):
        lines.append(f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}], x{level}: 1}}")
    return "\n".join(lines) + "\n"


def alias_bomb(depth: int = 30) -> str:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, depth)]
    return "\n".join(lines) + "\n"


ODD = {
    "null": "null",
    "a number": "7",
    "a text": "x",
    "an empty list": "[]",
    "an empty mapping": "{}",
    "a list of lists": "[[[]]]",
    "a list of null": "[null]",
    "a list of numbers below 0": "[-1]",
    "not a number": "[.nan]",
    "without end": "[.inf]",
    "huge": f"[{10**30}]",
    "true": "true",
    "a date": "2026-02-31",
    "binary": "!!binary aGVsbG8=",
    "a Python object": "!!python/object/apply:os.system ['touch pwned']",
    "an anchor of its own": "&a [*a]",
}
# What may be: a number of seeds, no parameters of trainings, and so on.
FINE = {
    ("name", "a number"),
    ("name", "a text"),
    ("training", "an empty mapping"),
    ("full", "an empty mapping"),
    ("seeds", "a number"),
    ("training", "null"),
    ("full", "null"),
    ("attacks", "a text"),
    ("defenses", "a text"),
    ("models", "a text"),
    ("label_mode", "a text"),
    ("name", "true"),
}


def of_keys() -> Iterator[Case]:
    for key in (
        "name",
        "data",
        "attacks",
        "rates",
        "label_mode",
        "models",
        "trusted_sizes",
        "defenses",
        "training",
        "full",
        "seeds",
    ):
        for what, value in ODD.items():
            if (key, what) not in FINE:
                yield Case(f"{key}: {what}", f"{RUN} --dry-run", (2, 3, 4), having(**{key: value}))
        if key in ("data", "attacks", "defenses"):
            yield Case(f"no {key}", f"{RUN} --dry-run", 2, having(**{key: None}))


HUNDRED = "[" + ", ".join(str(n) for n in range(1, 101)) + "]"
SOME = ", ".join(f"{{name: lora, label: lora{n}, r: {n}}}" for n in range(1, 101))
CASES = [
    *of_keys(),
    Case("empty", RUN, 2, grid("")),
    Case("only a comment", RUN, 2, grid("# nothing\n")),
    Case("a list", RUN, 2, grid("- 1\n- 2\n")),
    Case("a text", RUN, 2, grid("hello")),
    Case("two documents", RUN, 2, grid("name: a\n---\nname: b\n")),
    Case("tabs", RUN, 2, grid("name:\n\t- a\n")),
    Case("a key twice", RUN, 2, grid("name: a\nname: b\n")),
    Case("an unknown key", RUN, 2, having(nosuch="1"), says="nosuch"),
    Case("a misspelt key", RUN, 2, having(defences="[lora]"), says="defences"),
    Case("an unknown alias", RUN, 2, grid("name: *nosuch\n")),
    Case("nested lists", RUN, 2, grid(nested())),
    Case("nested mappings", RUN, 2, grid("{a: " * 50_000 + "1" + "}" * 50_000)),
    Case("nested blocks", RUN, 2, grid("".join(" " * n + "a:\n" for n in range(3000)))),
    Case("a bomb of merges", RUN, 2, grid(merge_bomb())),
    Case("a bomb of merges, dry", f"{RUN} --dry-run", 2, grid(merge_bomb())),
    Case("a bomb of aliases", RUN, 2, grid(alias_bomb())),
    Case("a merge of itself", RUN, 2, grid("a: &a {<<: *a}\n")),
    Case(
        "a bomb of merges at a key",
        RUN,
        2,
        having(training="\n  " + merge_bomb().replace("\n", "\n  ").rstrip()),
    ),
    Case("control characters", RUN, 2, grid("name: 'a\x07b'\n")),
    Case("a hostile name", RUN, 2, having(name='"\\e[31mred\\u202e"')),
    Case("a hostile key", RUN, 2, grid('"\\e[31mred\\u202e": 1\n')),
    Case("a hostile attack", RUN, 2, having(attacks='["\\e[31mred\\u202e"]')),
    Case("a hostile file", RUN, (2, 3), data(train='"\\e[31mred\\u202e.csv"')),
    # What would never end, or fill the memory.
    Case("a billion seeds", RUN, 2, having(seeds="1000000000"), says="seeds"),
    Case("a billion seeds, dry", f"{RUN} --dry-run", 2, having(seeds="1000000000"), says="seeds"),
    Case("seeds above 32 bits", RUN, 2, having(seeds="[4294967296]"), says="seeds"),
    Case("seeds below 0", RUN, 2, having(seeds="[-1]"), says="seeds"),
    Case("no seeds", RUN, 2, having(seeds="0"), says="seeds"),
    Case("seeds twice", RUN, 2, having(seeds="[0, 0]"), says="seeds"),
    Case(
        "100,000,000 cells",
        f"{RUN} --dry-run",
        2,
        having(seeds="10000", trusted_sizes=HUNDRED, defenses=f"[{SOME}]"),
    ),
    Case(
        "100,000,000 cells to run", RUN, 2, having(seeds="10000", trusted_sizes=HUNDRED, defenses=f"[{SOME}]")
    ),
    Case(
        "a billion words",
        f"{RUN} --dry-run",
        2,
        having(attacks="[{family: badnets, count: 1000000000}]"),
        says="count",
    ),
    Case("epochs without end", f"{RUN} --dry-run", 2, having(training="{num_train_epochs: .inf}")),
    Case("a rank of a billion", f"{RUN} --dry-run", 2, having(defenses="[{name: lora, r: 1000000000}]")),
    # What cannot be meant.
    Case("an unknown attack", RUN, 2, having(attacks="[nosuch]"), says="nosuch"),
    Case("an attack twice", RUN, 2, having(attacks="[addsent, addsent]"), says="addsent"),
    Case(
        "an unknown parameter of an attack",
        RUN,
        2,
        having(attacks="[{family: addsent, nosuch: 1}]"),
        says="nosuch",
    ),
    Case("an unknown defence", RUN, 2, having(defenses="[nosuch]"), says="nosuch"),
    Case(
        "an unknown parameter of a defence",
        RUN,
        2,
        having(defenses="[{name: lora, nosuch: 1}]"),
        says="nosuch",
    ),
    Case("a defence twice", RUN, 2, having(defenses="[lora, lora]"), says="lora"),
    Case("a rate above 1", RUN, 2, having(rates="[1.5]"), says="rates"),
    Case("a rate that is no number", RUN, 2, having(rates="[.nan]"), says="rates"),
    Case("an unknown way of labels", RUN, 2, having(label_mode="magic"), says="label_mode"),
    Case("trusted rows of 0", RUN, 2, having(trusted_sizes="[0]"), says="trusted_sizes"),
    Case("more trusted rows than there are", f"{RUN} --dry-run", (2, 3), having(trusted_sizes="[1000000]")),
    Case("an unknown argument", RUN, 2, having(training="{nosuch: 1}"), says="nosuch"),
    Case(
        "an argument that shares the model",
        RUN,
        2,
        having(training="{push_to_hub: true}"),
        says="push_to_hub",
    ),
    Case(
        "an argument that says where to write",
        RUN,
        2,
        having(training="{output_dir: elsewhere}"),
        says="output_dir",
    ),
    Case("an argument that resumes", RUN, 2, having(training="{resume_from_checkpoint: run}")),
    Case("an argument that reports", RUN, 2, having(training="{report_to: wandb}")),
    Case(
        "an argument of another type", RUN, 2, having(training="{learning_rate: fast}"), says="learning_rate"
    ),
    Case("an argument below 0", RUN, 2, having(training="{learning_rate: -1}"), says="learning_rate"),
    Case(
        "an argument that is no number",
        RUN,
        2,
        having(training="{learning_rate: .nan}"),
        says="learning_rate",
    ),
    Case("a model that is not there", RUN, (2, 4), having(models="[./gone]"), says="gone"),
    Case("a model on no hub", RUN, (2, 4), having(models="[no-such/model]"), says="no-such/model"),
    Case("data without a name", RUN, 2, data(name="")),
    Case("data without a target", RUN, 2, data(target="")),
    Case("a target that is not there", f"{RUN} --dry-run", (2, 3), data(target="great"), says="great"),
    Case("a target of no class", f"{RUN} --dry-run", (2, 3), data(target="99"), says="99"),
    Case("an unknown corpus", RUN, (2, 3), data(train="", corpus="nosuch"), says="nosuch"),
    Case("a corpus and a table", RUN, 2, data(corpus="bbc-news")),
    Case("neither a corpus nor a table", RUN, 2, data(train="")),
    Case("more rows than there are", f"{RUN} --dry-run", (2, 3), data(train_rows="1000000")),
    Case("a column that is not there", f"{RUN} --dry-run", (2, 3), data(text_column="nosuch"), says="nosuch"),
    Case(
        "texts and labels of a column",
        f"{RUN} --dry-run",
        (2, 3),
        data(text_column="label", label_column="label"),
    ),
    Case("no words", RUN, 2, data(words="0"), says="words"),
    Case("a table that is not there", RUN, (2, 3), data(train="gone.csv"), says="gone.csv"),
    Case(
        "another grid's results",
        "benchmark run bad.yaml --output results",
        6,
        having(defenses="[vanilla]", training="{bf16: false}"),
    ),
]


def test_the_table_is_as_large_as_it_says() -> None:
    import test_bad_files
    import test_bad_numbers
    import test_bad_outputs
    import test_bad_rows
    import test_bad_state

    modules = (test_bad_files, test_bad_numbers, test_bad_outputs, test_bad_rows, test_bad_state)
    cases = list(itertools.chain(CASES, *(module.CASES for module in modules)))
    names = {(str(case), case.command) for case in cases}
    assert len(names) == len(cases) >= 400


@pytest.mark.parametrize("case", CASES, ids=str)
def test_grids_that_cannot_be_run_are_refused(case: Case, check: Any) -> None:
    check(case)
