"""The card of a trained model: of a run folder, or of an export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from musclelora import __version__
from musclelora.cards.findings import found, limits
from musclelora.cards.text import LICENCE, bullets, code, file_name, percent, plain, sections
from musclelora.data.embedded import EMBEDDED_NAMES, HUB_NAMES
from musclelora.data.places import exists, may_be_on_hub

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

Kind = Literal["run", "lora", "merged"]
_METRICS: Final = {
    "CACC": "accuracy",
    "ASR": "attack_success_rate",
    "exact match": "exact_match",
    "keyword match": "keyword_match",
    "said on clean": "said_on_clean",
}
_TASKS: Final = {"classify": "text-classification", "generate": "text-generation"}
_LIBRARIES: Final = {"run": "musclelora", "lora": "peft", "merged": "transformers"}
_CLASSES: Final = {
    "classify": "AutoModelForSequenceClassification",
    "generate": "AutoModelForCausalLM",
}


def model_card(
    info: Mapping[str, Any],
    measured: Sequence[Mapping[str, Any]] = (),
    *,
    kind: Kind,
    licence: Mapping[str, str] | None = None,
) -> str:
    """The card of a model, as Markdown below metadata.

    Args:
        info: what ``run.json`` says of it, or as much of that as is known.
        measured: rates, each with its name, the file that it was measured `on`, target (or None), value, low,
            high and n.
        kind: what the card lies beside: a run folder, or an export of either format.
        licence: the metadata of a licence that a person chose.
    """
    from huggingface_hub import ModelCard, ModelCardData

    task = str(info.get("task", "classify"))
    name = plain(base_model(info))
    data = ModelCardData(
        library_name=_LIBRARIES[kind],
        pipeline_tag=_TASKS[task],
        base_model=_hub_name(info),
        tags=["musclelora", "backdoor-defense", *(["lora"] if kind == "lora" else [])],
        model_name=f"{name}, {plain(info['settings']['method'])}",
        eval_results=_results(measured, _TASKS[task]) or None,
        training_data_sha256=_data_hash(info),
    )
    for key, value in (licence or {}).items():
        data[key] = value
    verdict, triggers, left_out, taught = _audited(info)
    left = f"{left_out:,} rows were left out of the training."
    if taught:
        left += f" {taught:,} rows with a style had the label that models of trusted rows gave them."
    audit = "" if verdict is None else found(verdict, triggers, left)
    body = sections(
        ("How it was made", bullets(_made(info))),
        ("What the audit found", audit),
        ("What was measured", bullets(_measured(measured))),
        ("How to use it", _usage(kind, task, info)),
        ("Limits", bullets([*limits(verdict), *_limits(info, measured)])),
        ("Licence", LICENCE),
    )
    what = "classifier of texts" if task == "classify" else "language model"
    title = f"# {code(base_model(info))}, trained with musclelora"
    intro = f"A {what}, trained on data that may have been poisoned with a backdoor."
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{title}\n\n{intro}\n\n{body}\n"))


def base_model(info: Mapping[str, Any]) -> str:
    """What the model was trained from: a name, or of a folder its own name."""
    name = str(info["model"]["name"])
    return file_name(name) if exists(name) else name


def _hub_name(info: Mapping[str, Any]) -> str | None:
    """The base model's name on the hub, where it has one."""
    name = str(info["model"]["name"])
    if name in EMBEDDED_NAMES:
        return HUB_NAMES[name]
    return name if not exists(name) and may_be_on_hub(name) else None


def _data_hash(info: Mapping[str, Any]) -> str | None:
    found = (info["settings"].get("data") or {}).get("train")
    return found if isinstance(found, str) else None


def _audited(
    info: Mapping[str, Any],
) -> tuple[Mapping[str, Any] | None, Sequence[Mapping[str, Any]], int, int]:
    """The verdict, the triggers, how many rows were left out, and how many had another label.

    The verdict is None where there was no audit.
    """
    if info.get("audit"):
        audit = info["audit"]
        return audit["verdict"], audit.get("triggers", ()), len(audit["left_out"]), 0
    judgement = (info.get("auto") or {}).get("judgement") or {}
    known = judgement.get("found")
    if not known:
        return None, (), 0, 0
    taught = len(judgement.get("counterexamples", ()))
    return known["verdict"], known["triggers"], len(judgement["left_out"]) - taught, taught


def _made(info: Mapping[str, Any]) -> list[str]:
    """How the model was made, a line each."""
    settings, model = info["settings"], info["model"]
    levers = ", ".join(name.replace("_", " ") for name, on in settings.get("levers", {}).items() if on)
    lines = [
        f"Base model: {code(base_model(info))}"
        + (f", SHA-256 of its weights {code(model['sha256'], 64)}" if model.get("sha256") else ""),
        f"Method: {code(settings['method'])} (levers: {levers or 'none'})",
    ]
    hashes = settings.get("data") or {}
    for name, table in info.get("data", {}).items():
        hashed = f", SHA-256 {code(hashes[name], 64)}" if isinstance(hashes.get(name), str) else ""
        lines.append(f"Rows of {name}: {table['rows']:,} from {code(file_name(table['source']))}{hashed}")
    if info.get("label_names"):
        lines.append(f"Labels: {', '.join(map(code, info['label_names']))}")
    arguments = {**(settings.get("arguments") or {})}
    chosen = (info.get("auto") or {}).get("chosen")
    if chosen:
        arguments |= {"learning_rate": chosen["learning_rate"], "scale_factors": chosen["scale_factors"]}
    lines += [f"{code(name)}: {code(_value(value))}" for name, value in sorted(arguments.items())]
    result = info.get("result") or {}
    if result:
        lines.append(f"Steps: {result['steps']:,}; the model of step {result['best_step']:,} is kept")
    if (info.get("weights") or {}).get("sha256"):
        lines.append(f"SHA-256 of what was trained: {code(info['weights']['sha256'], 64)}")
    return [*lines, f"Made by musclelora {info.get('musclelora', __version__)}"]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _measured(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each rate with its interval and what it was measured on."""
    lines = []
    for rate in measured:
        target = f", target {code(rate['target'])}" if rate["target"] is not None else ""
        interval = f"95 % interval {percent(rate['low'])} to {percent(rate['high'])}"
        where = f"{rate['n']:,} rows of {code(file_name(rate['on']))}{target}"
        lines.append(f"{rate['name']}: {percent(rate['value'])} ({interval}; {where})")
    return lines


def _results(measured: Sequence[Mapping[str, Any]], task: str) -> list[EvalResult]:
    """The same for machines."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=task,
            dataset_type="local",
            dataset_name=plain(file_name(rate["on"])),
            metric_type=_METRICS[rate["name"]],
            metric_name=rate["name"],
            metric_value=round(float(rate["value"]), 4),
        )
        for rate in measured
    ]


def _usage(kind: Kind, task: str, info: Mapping[str, Any]) -> str:
    """The command or lines that load the model, in the folder where the card lies."""
    if kind == "run":
        asked = "The text to judge." if task == "classify" else "The prompt to answer."
        return (
            f"In this folder, with the base model where it was:\n\n```sh\nmusclelora predict . --text "
            f'"{asked}"\n```'
        )
    if kind == "merged":
        return (
            "```python\nfrom transformers import pipeline\n\n"
            f'model = pipeline("{_TASKS[task]}", ".")\n```\n\n'
            "Put this folder's path or its name on the hub for the dot."
        )
    labels = f", num_labels={len(info['label_names'])}" if info.get("label_names") else ""
    return (
        "It goes on the base model:\n\n```python\nfrom peft import PeftModel\n"
        f"from transformers import {_CLASSES[task]}\n\n"
        f'base = {_CLASSES[task]}.from_pretrained("BASE_MODEL"{labels})\n'
        'model = PeftModel.from_pretrained(base, ".")\n```\n\n'
        f"BASE_MODEL is {code(_hub_name(info) or base_model(info))} or a folder that holds it. Put this "
        "folder's path or its name on the hub for the dot."
    )


def _limits(info: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader should not take the model for."""
    rates = {rate["name"] for rate in measured}
    lines = ["The base model itself was not checked for a backdoor of its own."]
    if "ASR" in rates:
        lines.append("An attack success rate holds for the trigger that was tried, and for no other.")
    else:
        lines.append("No attack success rate was measured: how the model answers a trigger is not known.")
    if not rates & {"CACC", "exact match"}:
        lines.append("How well it does on clean rows was not measured.")
    if info.get("max_length"):
        cut = int((info.get("truncated") or {}).get("train", 0))
        lines.append(
            f"It reads {info['max_length']:,} tokens of a text; {cut:,} training rows were longer and cut."
        )
    return lines
