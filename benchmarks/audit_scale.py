"""How the time and memory of an audit grow with its rows.

Rows are texts of SST-2 (or BBC news, cut to 40 words), repeated with changes: each repetition loses a word in
eight and has two others swapped, so that no two are the same. A tenth carry a sentence and the label 1. Each
size is audited by `musclelora audit` in a process of its own, one after the other; peak memory and processor
seconds (which other work on the machine changes less) are that process's. `slope` is that of a line through
their logarithms over log(rows): 1 is linear.

    python benchmarks/audit_scale.py --rows 5000 20000 --json benchmarks/results/audit-scale.json

`--model` takes another backbone, such as a small random one (`--random WIDTH`), to see at what everything but
the backbone costs for more rows.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks import get_trigger, poison
from musclelora.data import Table, bbc_news, load_table, select_trusted, stratified_split
from musclelora.data.writers import write_csv
from musclelora.files import write_json
from processes import watched
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
TRUSTED, LOST, WORDS, MAX_LENGTH = 96, 8, 40, 64


def main() -> None:
    """Audit each size that the file does not hold, and print the slopes."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1" / "badnets",
        help="an OpenBackdoor folder; where there is none, BBC news is repeated",
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 20000, 100000])
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--random", type=int, metavar="WIDTH", help="a random BERT of two layers instead")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    model = f"random, width {options.random}" if options.random else options.model
    source = "sst-2" if options.data.is_dir() else "bbc-news"
    settings = {"model": model, "source": source, "trusted": TRUSTED, "max_length": MAX_LENGTH}
    rows = earlier(options.json, settings, "rows")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        name = random_model(place / "model", options.random) if options.random else options.model
        for count in options.rows:
            if count not in {row["rows"] for row in rows}:
                rows.append(audited(options.data, count, name, place))
                print(json.dumps(rows[-1]), flush=True)
                rows.sort(key=lambda row: row["rows"])
                write_json(
                    options.json, {**machine(), "settings": settings, "slope": slopes(rows), "rows": rows}
                )
    print(slopes(rows))


def audited(data: Path, count: int, model: str, place: Path) -> dict[str, Any]:
    """Audit `count` rows; seconds and bytes of the process."""
    train, trusted = tables(data, count)
    for name, table in (("train", train), ("trusted", trusted)):
        labels = [table.label_names[label] for label in table.labels]
        write_csv(place / f"{name}.csv", ("text", "label"), zip(table.texts, labels, strict=True))
    command = [sys.executable, "-m", "musclelora", "audit", "train.csv", "--trusted", "trusted.csv"]
    command += [
        "--model",
        model,
        "--judge",
        "backbone",
        "--max-length",
        str(MAX_LENGTH),
        "--output",
        f"audit-{count}",
    ]
    out, cost = watched(command, place)
    verdict = next(line for line in out.splitlines() if line.startswith(("poisoned", "no sign", "cannot")))
    return {"rows": count, **cost, "verdict": verdict[:200]}


def tables(data: Path, count: int) -> tuple[Table, Table]:
    """Training rows, a tenth of them poisoned, and trusted ones."""
    if data.is_dir():
        clean = load_table(data / "train-clean.csv")
        trusted, _ = select_trusted(load_table(data / "dev-clean.csv"), TRUSTED, seed=0)
    else:
        corpus = bbc_news(words=WORDS)
        trusted, clean = stratified_split(corpus, [TRUSTED, len(corpus) - TRUSTED], seed=0)
    rng = np.random.default_rng(0)
    rows = np.arange(count) % len(clean)
    texts = tuple(changed(clean.texts[row], rng) for row in rows)
    table = Table(texts, clean.labels[rows], clean.label_names, source="train")
    return poison(table, get_trigger("addsent"), target=1, rate=0.1, label_mode="mix", seed=0), trusted


def changed(text: str, rng: np.random.Generator) -> str:
    """A text less a word in eight, with two others swapped."""
    words = np.array(text.split(), dtype=object)
    if len(words) < 3:
        return text
    words = words[_kept(len(words), rng)]
    first, second = rng.choice(len(words), 2, replace=False)
    words[[first, second]] = words[[second, first]]
    return " ".join(words)


def _kept(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    lost = rng.choice(count, max(1, count // LOST), replace=False)
    return np.delete(np.arange(count), lost)


def random_model(folder: Path, width: int) -> str:
    """A random BERT of two layers with the embedded encoder's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from musclelora.data.model_source import model_source

    source = model_source("all-minilm-l6-v2")
    tokenizer = AutoTokenizer.from_pretrained(source.path)
    sizes = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=4 * width, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def slopes(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Of the logarithms of what was measured over log(rows); None of a single size."""
    names = ("seconds", "cpu_seconds", "peak_bytes")
    if len(rows) < 2:
        return dict.fromkeys(names)
    x = np.log([row["rows"] for row in rows])
    return {name: round(float(np.polyfit(x, np.log([row[name] for row in rows]), 1)[0]), 3) for name in names}


if __name__ == "__main__":
    main()
