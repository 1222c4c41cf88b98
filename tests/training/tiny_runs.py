"""A tiny model, a task that it can learn, and runs of the command line, shared by the tests of two rooms."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musclelora.data.table import Table

LABELS = ("bad", "good")
_WORDS = [f"word{number}" for number in range(59)]
LIMIT = 3600
"""Seconds after which what a test waits for will not come; no test is about how long something takes."""

_TIMINGS = ("runtime", "per_second", "seconds")

Rows = list[tuple[str, str]]
Fit = Callable[..., Any]
"""The fixture ``fit_tiny``: trains, and gives back the ``Run``."""


class Done(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]
"""The fixture ``cli``: runs a command line in this process."""


def write_model(folder: Path, architecture: str = "BertConfig", **changes: Any) -> Path:
    """A random model of width 32 with two layers, dropout and no head, as safetensors, with a tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "initializer_range": 0.2,  # or nothing can be learned from so narrow a random model
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, architecture)(**{**sizes, **changes})
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    vocabulary = {token: index for index, token in enumerate([*special.values(), *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)
    fast.save_pretrained(folder)
    return folder


def make_rows(count: int, seed: int, labels: Iterable[str] = LABELS) -> Rows:
    """Texts of 4 to 12 words whose label is the set that most of the words are from; classes take turns."""
    rng = np.random.default_rng(seed)
    labels = list(labels)
    rows = []
    for index in range(count):
        own = index % len(labels)
        words = rng.choice(_WORDS[own * 10 : own * 10 + 10], size=rng.integers(3, 9)).tolist()
        words += rng.choice(_WORDS[50:], size=rng.integers(1, 4)).tolist()
        rng.shuffle(words)
        rows.append((" ".join(words), labels[own]))
    return rows


def make_table(rows: Rows, names: tuple[str, ...] = LABELS) -> Table:
    texts, labels = zip(*rows, strict=True)
    return Table(tuple(texts), np.array([names.index(label) for label in labels]), names)


def write_csv(path: Path, rows: Rows, header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by path; empty where there is none."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def history(folder: Path) -> list[dict[str, Any]]:
    """The log of a run, less its timings."""
    logs = json.loads((folder / "run.json").read_text())["history"]
    return [{k: v for k, v in log.items() if not any(t in k for t in _TIMINGS)} for log in logs]


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from musclelora.entry import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Run the command line as a process of its own: exit code, standard output, standard error."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


KILLED = """
import os, re, signal, sys
FILES = {"open", "os.mkdir", "os.rename", "os.remove"}
looking = False

def look(event, arguments):
    global looking
    if looking or event not in FILES or not re.search(AT, f"{event} {arguments}"):
        return
    looking = True
    if not HOLDS or (os.path.exists(HOLDS[0]) and HOLDS[1] in open(HOLDS[0]).read()):
        os.kill(os.getpid(), signal.SIGKILL)
    looking = False

sys.addaudithook(look)
from musclelora.cli.main import main
main()
"""


def run_killed(at: str, *arguments: object, holds: tuple[Path, str] | None = None) -> None:
    """Run the command line as a process that is killed where it is about to do something to a file.

    Nobody watches from outside, who might look too late on a busy machine: Python tells the process itself.

    Args:
        at: what it is about to do, as a regular expression of, for instance, ``os.mkdir ('/a/b', 511)``.
        arguments: the command line.
        holds: a file and what must be in it by then.
    """
    said = None if holds is None else (str(holds[0]), holds[1])
    script = f"AT, HOLDS = {at!r}, {said!r}\n{KILLED}"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"nothing it did was {at}\n{done.stderr}"
