"""Inputs that are no file, or another file than they should be: of every command, every input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from table import (
    PICKLE,
    ZERO,
    Case,
    Change,
    a_socket,
    change,
    copy,
    cut,
    device,
    fifo,
    flip,
    folder,
    link,
    move,
    nested,
    remove,
    tensors,
    write,
)

# ---- data -----------------------------------------------------------------------------------------------

GRID_DATA = "name: tiny, train: train.csv, test: test.csv, trusted: dev.csv, train_rows: 16, target: good"


def grid(data: str = GRID_DATA, *, attacks: str = "[addsent]", models: str = "[model]") -> Change:
    return write(
        "bad.yaml",
        f"name: tiny\ndata: [{{{data}}}]\nattacks: {attacks}\nmodels: {models}\ntrusted_sizes: [6]\n"
        "defenses: [lora]\ntraining: {bf16: false}\n# train.csv test.csv dev.csv model\n",
    )


OUT = "--model model --output out"
TINY = "--train train.csv --trusted trusted.csv --model model --epochs 1 --batch-size 8"
GENERATE = "train --task generate --model decoder --output out"
DATA_SPOTS = {
    "train --train": f"train --train BAD --trusted trusted.csv {OUT}",
    "train --trusted": f"train --train train.csv --trusted BAD {OUT}",
    "train --trusted-from": f"train --train train.csv --trusted-from BAD --trusted-size 4 {OUT}",
    "train --dev": f"train --train train.csv --trusted trusted.csv --dev BAD {OUT}",
    "tune --train": f"tune --train BAD --trusted trusted.csv {OUT}",
    "tune --trusted": f"tune --train train.csv --trusted BAD {OUT}",
    "spectrum --train": f"spectrum train --train BAD --trusted trusted.csv {OUT}",
    "spectrum --trusted": f"spectrum train --train train.csv --trusted BAD {OUT}",
    "generate --train": f"{GENERATE} --train BAD --trusted checked.jsonl",
    "generate --trusted": f"{GENERATE} --train pairs.jsonl --trusted BAD",
    "predict": "predict run BAD",
    "predict a generator": "predict grun BAD",
    "evaluate --clean": "evaluate run --clean BAD",
    "evaluate --triggered": "evaluate run --triggered BAD --target good",
    "poison": "poison BAD --attack addsent --rate 0.1 --target good --output out.csv",
    "poison generate": "poison BAD --task generate --attack addsent --rate 0.1 --target yes --output out.csv",
    "paraphrases": "poison train.csv --attack style:backend=file,file=BAD --rate 0.5 --target good "
    "--output out.csv",
}
ROW = '{"text": "word1", "label": "good", "prompt": "word1", "response": "word2", "messages": '
DATA_KINDS: dict[str, tuple[str, list[Change]]] = {
    "missing": ("gone.csv", []),
    "missing, with a hub's name": ("no-such/data", []),
    "empty": ("bad.csv", [write("bad.csv", "")]),
    "empty lines": ("bad.jsonl", [write("bad.jsonl", "\n\n\n")]),
    "an empty folder": ("bad.csv", [folder("bad.csv")]),
    "a FIFO": ("bad.csv", [fifo("bad.csv")]),
    "a link to a FIFO": ("bad.jsonl", [fifo("pipe"), link("bad.jsonl", "pipe")]),
    "a FIFO without a suffix": ("bad", [fifo("bad")]),
    "a device that never ends": ("bad.csv", [device("bad.csv", ZERO)]),
    "a link to a device": ("bad.jsonl", [link("bad.jsonl", "/dev/zero")]),
    "a link to the null device": ("bad.csv", [link("bad.csv", "/dev/null")]),
    "a Parquet file that never ends": ("bad.parquet", [link("bad.parquet", "/dev/zero")]),
    "a socket": ("bad.csv", [a_socket("bad.csv")]),
    "a link to nowhere": ("bad.csv", [link("bad.csv", "gone")]),
    "a link to itself": ("bad.csv", [link("bad.csv", "bad.csv")]),
    "a file that cannot be read": ("bad.csv", [link("bad.csv", "/proc/self/mem")]),
    "below a file": ("train.csv/bad.csv", []),
    "no name": ("''", []),
    "a name too long": (f"{'x' * 300}.csv", []),
    "a path too long": (f"{'x/' * 3000}y.csv", []),
    "a name with controls": ("'bad\x1b[31m\u202e.csv'", []),
    "binary": ("bad.csv", [write("bad.csv", bytes(range(256)) * 8)]),
    "a pickle": ("bad.csv", [write("bad.csv", PICKLE)]),
    "another encoding": ("bad.csv", [write("bad.csv", "text,label\ncafé,good\n".encode("latin-1"))]),
    "UTF-16": ("bad.jsonl", [write("bad.jsonl", f"{ROW}0}}".encode("utf-16"))]),
    "an unknown format": ("bad.docx", [write("bad.docx", "PK")]),
    "no Parquet": ("bad.parquet", [write("bad.parquet", "PAR1 and nothing more")]),
    "no JSON": ("bad.jsonl", [write("bad.jsonl", f"{ROW}\n")]),
    "JSON that is no object": ("bad.jsonl", [write("bad.jsonl", "[1, 2]\n3\n")]),
    "nested JSON": ("bad.jsonl", [write("bad.jsonl", f"{ROW}{nested()}}}\n")]),
    "an endless line": ("bad.csv", [write("bad.csv", "text,label\n" + "\0" * 1000)]),
    "a folder of junk": (
        "bad",
        [folder("bad"), write("bad/data.csv", b"\xff\xfe\xfd"), fifo("bad/train.csv")],
    ),
    "a run": ("half", []),
}


def data_cases() -> Iterator[Case]:
    for spot, command in DATA_SPOTS.items():
        for kind, (name, bad) in DATA_KINDS.items():
            code: int | tuple[int, ...] = (2, 3) if name == "''" else 3
            yield Case(f"{spot}: {kind}", command.replace("BAD", name), code, bad)
    for key in ("train", "test", "trusted"):
        words = GRID_DATA.split(", ")
        for kind in ("missing", "empty", "a FIFO", "a link to a device", "binary", "nested JSON", "a run"):
            name, bad = DATA_KINDS[kind]
            named = ", ".join(f"{key}: {name}" if word.startswith(f"{key}:") else word for word in words)
            yield Case(
                f"grid {key}: {kind}", "benchmark run bad.yaml --output out", (2, 3), [*bad, grid(named)]
            )
    for kind in ("missing", "empty", "a FIFO", "a link to a device", "binary"):
        name, bad = DATA_KINDS[kind]
        for attack in (
            f"{{family: addsent, triggered: {name}}}",
            f"{{family: style, backend: file, file: {name}}}",
        ):
            yield Case(
                f"grid {attack.split(',')[1].split(':')[0].strip()}, {attack[9:16]}: {kind}",
                "benchmark run bad.yaml --output out",
                (2, 3),
                [*bad, grid(attacks=f"[{attack}]")],
            )


# ---- models ---------------------------------------------------------------------------------------------

LOST = ("pytorch_model.bin", "model.safetensors")


def _weights(alter: str) -> Change:
    def do(found: dict[str, Any]) -> dict[str, Any]:
        import torch

        match alter:
            case "else":
                return {"a": torch.zeros(3), "b.weight": torch.ones(2, 2)}
            case "shapes":
                return {name: value[..., :1] for name, value in found.items()}
            case "nan":
                return {name: torch.full_like(value, float("nan")) for name, value in found.items()}
            case "one inf":
                first = next(iter(found))
                found[first].view(-1)[0] = float("inf")
                return found
            case "integers":
                return {name: value.to(torch.int32) for name, value in found.items()}
            case "half of them":
                return dict(list(found.items())[::2])
            case "none":
                return {}
        raise AssertionError(alter)

    return tensors("bad/model.safetensors", do)


def _model(*changes: Change, of: str = "model") -> list[Change]:
    """A copy of the tiny model as ``bad``, changed."""

    def do() -> None:
        import shutil

        shutil.copytree(of, "bad")

    return [Change((of, "bad"), do), *changes]


def _of_many_layers(count: int) -> list[Change]:
    return _model(change("bad/config.json", "num_hidden_layers", count), remove("bad/model.safetensors"))


MODEL_SPOTS = {
    "train": "train --train train.csv --trusted trusted.csv --method musclelora --model BAD --output out",
    "tune": "tune --train train.csv --trusted trusted.csv --model BAD --output out",
}
MODEL_KINDS: dict[str, list[Change]] = {
    "missing": [],
    "a file": [write("bad", "x")],
    "an empty folder": [folder("bad")],
    "a FIFO": [fifo("bad")],
    "a device": [device("bad", ZERO)],
    "a socket": [a_socket("bad")],
    "a link to itself": [link("bad", "bad")],
    "its configuration missing": _model(remove("bad/config.json")),
    "its configuration a FIFO": _model(fifo("bad/config.json")),
    "its configuration without end": _model(link("bad/config.json", "/dev/zero")),
    "its configuration a folder": _model(folder("bad/config.json")),
    "its configuration empty": _model(write("bad/config.json")),
    "its configuration a list": _model(write("bad/config.json", "[]")),
    "its configuration nested": _model(write("bad/config.json", nested())),
    "its configuration cut": _model(cut("bad/config.json")),
    "its configuration of no type": _model(write("bad/config.json", "{}")),
    "its type unknown": _model(change("bad/config.json", "model_type", "nosuch")),
    "its type a number": _model(change("bad/config.json", "model_type", 3)),
    "3,000,000 layers": _model(change("bad/config.json", "num_hidden_layers", 3_000_000)),
    "3,000,000 layers and no weights": _of_many_layers(3_000_000),
    "layers below none": _model(change("bad/config.json", "num_hidden_layers", -1)),
    "layers that are a word": _model(change("bad/config.json", "num_hidden_layers", "many")),
    "a width of a billion": _model(change("bad/config.json", "hidden_size", 10**9)),
    "a width of 0": _model(change("bad/config.json", "hidden_size", 0)),
    "heads that do not divide": _model(change("bad/config.json", "num_attention_heads", 7)),
    "a vocabulary of a billion billion": _model(change("bad/config.json", "vocab_size", 10**18)),
    "code of its own": _model(
        change("bad/config.json", "auto_map", {"AutoConfig": "own.Own", "AutoModel": "own.Own"}),
        change("bad/config.json", "model_type", "own"),
        write("bad/own.py", "open('pwned', 'w').close()"),
    ),
    "its weights missing": _model(remove("bad/model.safetensors")),
    "its weights a pickle": _model(remove("bad/model.safetensors"), write("bad/pytorch_model.bin", PICKLE)),
    "its safetensors a pickle": _model(write("bad/model.safetensors", PICKLE)),
    "an index that names a pickle": _model(
        remove("bad/model.safetensors"),
        write("bad/model.safetensors.index.json", json.dumps({"weight_map": {"a": "evil.bin"}})),
        write("bad/evil.bin", PICKLE),
    ),
    "an index that leads out": _model(
        remove("bad/model.safetensors"),
        write(
            "bad/model.safetensors.index.json", json.dumps({"weight_map": {"a": "../../gone.safetensors"}})
        ),
    ),
    "an index that is nested": _model(
        remove("bad/model.safetensors"), write("bad/model.safetensors.index.json", nested())
    ),
    "its weights empty": _model(write("bad/model.safetensors")),
    "its weights cut": _model(cut("bad/model.safetensors")),
    "its weights a FIFO": _model(fifo("bad/model.safetensors")),
    "its weights without end": _model(link("bad/model.safetensors", "/dev/zero")),
    "its weights a folder": _model(folder("bad/model.safetensors")),
    "a header of its weights too long": _model(write("bad/model.safetensors", b"\xff" * 64)),
    "weights of something else": _model(_weights("else")),
    "weights of other shapes": _model(_weights("shapes")),
    "weights that are no numbers": _model(_weights("nan")),
    "one weight infinite": _model(_weights("one inf")),
    "weights that are integers": _model(_weights("integers")),
    "half of the weights": _model(_weights("half of them")),
    "no weights in the file": _model(_weights("none")),
    "its tokenizer missing": _model(remove("bad/tokenizer.json"), remove("bad/tokenizer_config.json")),
    "its tokenizer a FIFO": _model(fifo("bad/tokenizer.json")),
    "its tokenizer without end": _model(link("bad/tokenizer.json", "/dev/zero")),
    "its tokenizer empty": _model(write("bad/tokenizer.json")),
    "its tokenizer nested": _model(write("bad/tokenizer.json", nested())),
    "its tokenizer's settings a FIFO": _model(fifo("bad/tokenizer_config.json")),
    "its tokenizer's settings a list": _model(write("bad/tokenizer_config.json", "[]")),
    "its tokenizer's settings nested": _model(write("bad/tokenizer_config.json", nested())),
}
TEMPLATES = {
    "that loops": "{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}",
    "that fills the memory": '{{ "x" * 10000000000 }}',
    "that fills the memory in a loop": '{% set ns = namespace(t="xxxxxxxx") %}{% for a in range(60) %}'
    "{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
    "that reaches for the system": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "that is no template": "{% for %}",
    "that raises": "{{ raise_exception('no') }}",
    "that includes itself": "{% include 'chat_template.jinja' %}",
}
TOLD = "train --task generate --train pairs.jsonl --trusted checked.jsonl --model bad --output out"


def model_cases() -> Iterator[Case]:
    for spot, command in MODEL_SPOTS.items():
        for kind, bad in MODEL_KINDS.items():
            yield Case(f"{spot} --model: {kind}", command.replace("BAD", "bad"), 4, bad)
        yield Case(f"{spot} --model: no name", command.replace("BAD", "''"), (2, 4))
        yield Case(f"{spot} --model: a name too long", command.replace("BAD", "x" * 300), 4)
    for kind, template in TEMPLATES.items():
        bad = _model(write("bad/chat_template.jinja", template), of="decoder")
        yield Case(f"a chat template {kind}", TOLD, (3, 4), bad)
        told = change("bad/tokenizer_config.json", "chat_template", template)
        without = remove("bad/chat_template.jinja")
        yield Case(
            f"a chat template in the settings {kind}", TOLD, (3, 4), _model(without, told, of="decoder")
        )
    for kind in (
        "missing",
        "a FIFO",
        "an empty folder",
        "its configuration a FIFO",
        "its configuration a list",
    ):
        command = "poison train.csv --attack addsent --rate 0.1 --target good --output out.csv"
        yield Case(f"perplexity: {kind}", f"{command} --perplexity-model bad", 4, MODEL_KINDS[kind])
        # A grid whose model does not exist: known before the first cell.
        command = "benchmark run bad.yaml --output out"
        yield Case(f"grid models: {kind}", command, (2, 4), [*MODEL_KINDS[kind], grid(models="[./bad]")])
    yield Case("grid models: no name", "benchmark run bad.yaml --output out", (2, 4), [grid(models="['']")])


# ---- runs -----------------------------------------------------------------------------------------------

WEIGHTS = "run/musclelora.safetensors"
RUN_SPOTS = {
    "info": "info run",
    "predict": "predict run test.csv",
    "evaluate": "evaluate run --clean test.csv",
    "export": "export run --output out",
}
RUN_KINDS: dict[str, list[Change]] = {
    "missing": [remove("run")],
    "a file": [write("run", "x")],
    "an empty folder": [folder("run")],
    "a FIFO": [fifo("run")],
    "a device": [device("run", ZERO)],
    "a link to itself": [link("run", "run")],
    "run.json missing": [remove("run/run.json")],
    "run.json a FIFO": [fifo("run/run.json")],
    "run.json a socket": [a_socket("run/run.json")],
    "run.json without end": [link("run/run.json", "/dev/zero")],
    "run.json the null device": [link("run/run.json", "/dev/null")],
    "run.json a folder": [folder("run/run.json")],
    "run.json that cannot be read": [link("run/run.json", "/proc/self/mem")],
    "run.json in another encoding": [write("run/run.json", '{"format": "é"}'.encode("utf-16"))],
}
LOADED_KINDS: dict[str, list[Change]] = {
    "weights missing": [remove(WEIGHTS)],
    "weights empty": [write(WEIGHTS)],
    "weights cut": [cut(WEIGHTS)],
    "weights a FIFO": [fifo(WEIGHTS)],
    "weights a socket": [a_socket(WEIGHTS)],
    "weights without end": [link(WEIGHTS, "/dev/zero")],
    "weights a folder": [folder(WEIGHTS)],
    "weights a pickle": [write(WEIGHTS, PICKLE)],
    "weights of another run": [copy(WEIGHTS, "other/musclelora.safetensors")],
    "one bit of the weights": [flip(WEIGHTS)],
    "one bit of the weights' header": [flip(WEIGHTS, 0.01)],
    "weights of the backbone": [copy(WEIGHTS, "model/model.safetensors")],
    "the backbone missing": [remove("model")],
    "the backbone's weights altered": [flip("model/model.safetensors")],
    "the backbone's weights another's": [
        tensors("model/model.safetensors", lambda found: {k: v * 1.5 for k, v in found.items()})
    ],
    "the backbone's weights a FIFO": [fifo("model/model.safetensors")],
    "the backbone's configuration a FIFO": [fifo("model/config.json")],
    "the backbone narrower": [change("model/config.json", "hidden_size", 16)],
    "the backbone of 3,000,000 layers": [change("model/config.json", "num_hidden_layers", 3_000_000)],
    "the backbone's tokenizer a FIFO": [fifo("model/tokenizer.json")],
    "not finished": [move("half", "run")],
}


def _of_the_run(what: str) -> Change:
    def do(found: dict[str, Any]) -> dict[str, Any]:
        import torch

        match what:
            case "nan":
                return {name: torch.full_like(value, float("nan")) for name, value in found.items()}
            case "one nan":
                last = list(found)[-1]
                found[last].view(-1)[-1] = float("nan")
                return found
            case "integers":
                return {name: value.to(torch.int64) for name, value in found.items()}
            case "shapes":
                return {name: value.reshape(-1)[:1] for name, value in found.items()}
            case "fewer":
                return dict(list(found.items())[1:])
            case "more":
                return {**found, "nosuch.weight": torch.zeros(2)}
        raise AssertionError(what)

    return tensors(WEIGHTS, do)


LOADED_KINDS |= {
    f"tensors: {what}": [_of_the_run(what)]
    for what in ("nan", "one nan", "integers", "shapes", "fewer", "more")
}


def run_cases() -> Iterator[Case]:
    for spot, command in RUN_SPOTS.items():
        for kind, bad in RUN_KINDS.items():
            yield Case(f"run of {spot}: {kind}", command, 4, bad)
        yield Case(f"run of {spot}: no name", command.replace(" run", " ''", 1), (2, 4))
        yield Case(f"run of {spot}: a name too long", command.replace(" run", f" {'x' * 300}", 1), 4)
        if spot != "info":
            for kind, bad in LOADED_KINDS.items():
                yield Case(f"run of {spot}: {kind}", command, 4, bad)
    for kind in ("a FIFO", "without end", "a socket", "empty", "cut", "a pickle"):
        yield Case(f"generator weights {kind}", "predict grun --text word1", 4, _moved(f"weights {kind}"))
    for kind in ("run.json a FIFO", "run.json without end", "run.json a folder"):
        yield Case(f"generator {kind}", "predict grun --text word1", 4, _moved(kind))


def _moved(kind: str) -> list[Change]:
    """What is done to the run, done to the run that generates."""
    return [move("grun", "run"), *{**RUN_KINDS, **LOADED_KINDS}[kind], move("run", "grun")]


# ---- grids, results and recorded runs -------------------------------------------------------------------

PLACES: dict[str, list[Change]] = {
    "missing": [],
    "empty": [write("bad")],
    "a folder": [folder("bad")],
    "a FIFO": [fifo("bad")],
    "a link to a FIFO": [fifo("pipe"), link("bad", "pipe")],
    "a device without end": [device("bad", ZERO)],
    "a link to a device": [link("bad", "/dev/zero")],
    "the null device": [link("bad", "/dev/null")],
    "a socket": [a_socket("bad")],
    "a link to itself": [link("bad", "bad")],
    "a file that cannot be read": [link("bad", "/proc/self/mem")],
    "binary": [write("bad", bytes(range(256)))],
    "another encoding": [write("bad", "name: é".encode("utf-16"))],
}


KEPT: dict[str, tuple[str, int | tuple[int, ...]]] = {
    "srun/spectrum/summary.json": ("spectrum compare srun", (3, 4)),
    "search/tune.json": (f"tune {TINY} --trials 1 --output search --resume", (4, 6)),
    "demo/grid.json": ("demo --output demo", 6),
}


def place_cases() -> Iterator[Case]:
    for kind, bad in PLACES.items():
        yield Case(f"grid: {kind}", "benchmark run bad --output out", 2, bad)
        yield Case(f"grid, dry: {kind}", "benchmark run bad --output out --dry-run", 2, bad)
        yield Case(f"results: {kind}", "benchmark report bad", (4, 6), bad)
        yield Case(f"recorded run: {kind}", "spectrum compare bad", (3, 4), bad)
        if kind != "missing":
            grid_json, going_on = (
                [*bad, move("bad", "made/grid.json")],
                "benchmark run grid.yaml --output made",
            )
            yield Case(f"grid.json: {kind}", "benchmark report made", (4, 6), grid_json)
            yield Case(f"grid.json to go on with: {kind}", going_on, 6, grid_json)
            for file, (command, code) in KEPT.items():
                yield Case(f"{file} is {kind}", command, code, [*bad, move("bad", file)])


CASES = [*data_cases(), *model_cases(), *run_cases(), *place_cases()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_inputs_that_are_something_else_are_refused(case: Case, check: Any) -> None:
    check(case)
