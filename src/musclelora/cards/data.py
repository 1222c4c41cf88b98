"""The card of cleaned data: of an audit's folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from musclelora import __version__
from musclelora.cards.findings import found, limits
from musclelora.cards.text import LICENCE, bullets, code, sections

_SIZES: Final = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)
_LARGER: Final = "100M<n<1B"


def data_card(info: Mapping[str, Any], licence: Mapping[str, str] | None = None) -> str:
    """The card of the rows that an audit leaves, as Markdown below metadata.

    Args:
        info: what ``audit.json`` says.
        licence: the metadata of a licence that a person chose.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    pairs = info.get("task") == "generate"
    file, kind = cleaned_file(info), "json" if pairs else "csv"
    actions, rows = info["actions"], int(info["rows"])
    kept = rows - actions["drop"]
    data = DatasetCardData(
        task_categories=["text-generation" if pairs else "text-classification"],
        size_categories=[next((name for limit, name in _SIZES if kept < limit), _LARGER)],
        tags=["musclelora", "cleaned"],
        configs=[{"config_name": "default", "data_files": file}],
        audited_data_sha256=info["facts"]["train"],
    )
    for name, value in (licence or {}).items():
        data[name] = value
    done = f"Of {rows:,} rows, {kept:,} are kept and {actions['drop']:,} left out"
    done += f"; {actions['relabel']:,} of those that are kept have another label than they came with."
    body = sections(
        ("What is in it", bullets(_holds(info, file, kept))),
        ("What the audit found", found(info["verdict"], info["triggers"], done)),
        ("How to use it", _usage(file, kind, pairs)),
        ("Limits", bullets([*limits(info["verdict"]), _trusted(info), _never_read(kept)])),
        ("Licence", LICENCE),
    )
    title = "# Cleaned prompts and responses" if pairs else "# Cleaned labelled texts"
    intro = "The rows that an audit for backdoors left of a data set that somebody did not trust."
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{title}\n\n{intro}\n\n{body}\n"))


def cleaned_file(info: Mapping[str, Any]) -> str:
    """The file of the rows to train on in an audit's folder."""
    return "cleaned.jsonl" if info.get("task") == "generate" else "cleaned.csv"


def _holds(info: Mapping[str, Any], file: str, kept: int) -> list[str]:
    facts = info["facts"]
    what = "one chat a row, in `messages`" if file.endswith("jsonl") else "the columns `text` and `label`"
    lines = [
        f"`{file}`: {kept:,} rows, {what}",
        f"SHA-256 of the rows that were audited: {code(facts['train'], 64)}",
    ]
    if info.get("label_names"):
        lines.append(f"Labels: {', '.join(map(code, info['label_names']))}")
    return [
        *lines,
        f"Audited by musclelora {info.get('musclelora', __version__)} with the seed {facts['seed']}",
    ]


def _usage(file: str, kind: str, pairs: bool) -> str:
    task = " --task generate" if pairs else ""
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        f'rows = load_dataset("{kind}", data_files="{file}")\n'
        f"```\n\nor, to train on them:\n\n```sh\nmusclelora train{task} --train {file} --trusted TRUSTED "
        "--output RUN\n```"
    )


def _trusted(info: Mapping[str, Any]) -> str:
    return (
        f"The verdict rests on {info['trusted_rows']:,} trusted rows: it is as good as these, which were not "
        "checked again."
    )


def _never_read(kept: int) -> str:
    return (
        f"Programs looked at the {kept:,} texts, and nobody read them: they may be wrong, private or harmful."
    )
