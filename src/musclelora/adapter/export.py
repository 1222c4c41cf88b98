"""Writing a trained model so that it loads without this package."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.attach import Adapted, safetensors_errors
from musclelora.adapter.backbone import Backbone, load_backbone
from musclelora.adapter.causal import load_causal_backbone
from musclelora.adapter.layer import MultiScaleLinear
from musclelora.adapter.loading import is_quantized
from musclelora.adapter.placement import fold_bottlenecks
from musclelora.cards import CARD
from musclelora.data.export_hashes import files_of_export, write_hashes
from musclelora.errors import UsageError
from musclelora.files import LOCK, atomic_folder, write_json
from musclelora.outputs import check_output, entries_of, refuse_foreign

# PEFT always keeps modules whose names end so whole for sequence classification.
_PEFT_HEADS = ("classifier", "score")
_NO_LAYER = "dummy-target-modules"  # PEFT's word for an adapter without layers


def check_export(path: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Refuse to replace at `path` what is no export, or what the export is made from.

    Raises:
        OutputError: what :func:`~musclelora.outputs.check_output` refuses of the folders `inputs`, or `path`
            holds files that no export wrote.
    """
    check_output(path, inputs, folder=True)
    folder = Path(path)
    written = {LOCK, *files_of_export(folder)}
    foreign = (entry for entry in entries_of(folder) if entry.name not in written or not entry.is_file())
    refuse_foreign(folder, "export", foreign)


def export(
    adapted: Adapted,
    tokenizer: Tokenizer,
    path: str | os.PathLike[str],
    *,
    format: str = "lora",  # noqa: A002 - the command line's word
    base_model: str | None = None,
    overwrite: bool = False,
    made_from: Mapping[str, str | None] | None = None,
    card: str | None = None,
) -> None:
    """Write `adapted` as an ordinary Hugging Face folder, whole or not at all.

    Args:
        adapted: the trained classifier; it is left as it is.
        tokenizer: saved beside the weights.
        path: the folder to write.
        format: ``"lora"``, an ordinary PEFT LoRA folder to put on the backbone, with the head in it; or
            ``"merged"``, the whole classifier.
        base_model: the backbone's name or folder, for the LoRA folder's configuration.
        overwrite: replace what is at `path`.
        made_from: hashes of what the export is made from, by name, to be kept in it beside those of its files
            (:mod:`musclelora.data.export_hashes`).
        card: the text of its README.md, which a person may edit; None: it gets none.

    Raises:
        UsageError: an unknown format, LoRA asked of a model whose backbone was trained itself, or a merged
            model of quantised weights.
        OutputError: `path` exists, or it cannot be written.
    """
    if format not in FORMATS:
        raise UsageError(f"--format: found {format!r}, expected one of {', '.join(FORMATS)}")
    with atomic_folder(path, overwrite=overwrite) as folder, safetensors_errors():
        FORMATS[format](adapted, folder, base_model)
        tokenizer.save_pretrained(folder)
        if card is not None:
            (folder / CARD).write_text(card, encoding="utf-8")
        write_hashes(folder, format, made_from or {})


def on_own_weights(adapted: Adapted, backbone: Backbone) -> Adapted:
    """The adapter on its backbone's weights as they were saved, where these are quantised in `adapted`.

    The adapter is then as it was, and what it is added to is not rounded.

    Raises:
        ModelError: the backbone cannot be loaded.
    """
    if not is_quantized(adapted.model):
        return adapted
    config, revision = backbone.model.config, backbone.revision
    dtype = str(backbone.model.dtype).removeprefix("torch.")
    if adapted.placement.output is None:
        whole = load_causal_backbone(backbone.name, revision=revision, dtype=dtype)
        return adapted.onto(whole, backbone.sha256)
    names = [config.id2label[index] for index in range(config.num_labels)]
    return adapted.onto(load_backbone(backbone.name, names, revision=revision, dtype=dtype), backbone.sha256)


def merged_model(adapted: Adapted) -> PreTrainedModel:
    """A copy of the classifier with every adapter added to its layer: nothing of the method remains.

    Raises:
        UsageError: the weights are quantised, so that the sum would be rounded: see :func:`on_own_weights`.
    """
    if is_quantized(adapted.model):
        raise UsageError("merged_model: found quantised weights, expected those of on_own_weights()")
    model = copy.deepcopy(adapted.model)
    plain: PreTrainedModel = model.merge_and_unload() if isinstance(model, PeftModel) else model
    fold_bottlenecks(plain)
    return plain


def _write_merged(adapted: Adapted, folder: Path, _: str | None) -> None:
    merged_model(adapted).save_pretrained(folder)


def _write_lora(adapted: Adapted, folder: Path, base_model: str | None) -> None:
    """LoRA factors for layers of the checkpoint; the head, which started random, whole and merged."""
    if not isinstance(adapted.model, PeftModel) or not adapted.config.low_rank:
        raise UsageError(
            "--format lora: this run trained the backbone itself, which no low-rank adapter can hold; "
            "use --format merged"
        )
    layers = {
        _plain(name): module
        for name, module in adapted.model.named_modules()
        if isinstance(module, LoraLayer)
    }
    heads = _whole_modules(adapted)
    tensors = _head_tensors(adapted, heads)
    ranks: dict[str, int] = {}
    for name, layer in layers.items():
        if _inside(name, heads):
            continue
        low, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        if isinstance(layer, MultiScaleLinear):
            low = layer.scales("default")[:, None] * low
        # With α = r PEFT's own scaling is 1, so the strength goes into the factor.
        tensors[f"base_model.model.{name}.lora_A.weight"] = low * layer.scaling["default"]
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
        ranks[name] = low.shape[0]
    rank = max(ranks.values(), key=list(ranks.values()).count, default=1)
    others = {name: r for name, r in ranks.items() if r != rank}
    config = LoraConfig(
        task_type="CAUSAL_LM" if adapted.placement.output is None else "SEQ_CLS",
        inference_mode=True,
        base_model_name_or_path=_from_anywhere(base_model),
        r=rank,
        lora_alpha=rank,
        rank_pattern=others,
        alpha_pattern=others,
        target_modules=sorted(ranks) or _NO_LAYER,
        modules_to_save=heads or None,
        fan_in_fan_out=any(layers[name].fan_in_fan_out for name in ranks),
    )
    config.save_pretrained(str(folder))
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if adapted.placement.output is None:
        return
    # No config.json: beside one, transformers takes the folder for a whole model and looks for its weights.
    # What it would say of the labels is here: `from_pretrained(folder, id2label=dict(enumerate(names)))`.
    names = adapted.model.config.id2label
    write_json(folder / "labels.json", [names[index] for index in range(len(names))])


def _whole_modules(adapted: Adapted) -> list[str]:
    """Names of the modules to keep whole: those with a parameter that did not come from the checkpoint.

    PEFT compares the ends of names, and cannot keep a module whole that it adapts: whatever it would take for
    one of them is kept whole as well.
    """
    parameters = {_plain(name) for name in adapted.own if "lora_" not in name}
    wanted = {name.rpartition(".")[0] for name in parameters}
    output = adapted.placement.output
    if output is None:  # a language model: no head started random, and PEFT keeps none whole by its name
        return sorted(wanted)
    wanted.add(output)
    modules = [_plain(name) for name, _ in adapted.model.get_base_model().named_modules() if name]
    ends = (*wanted, *_PEFT_HEADS)
    names: list[str] = []
    for module in sorted({name for name in modules if name.endswith(ends)}):
        if not _inside(module, names):
            names.append(module)
    return names


def _head_tensors(adapted: Adapted, heads: list[str]) -> dict[str, Tensor]:
    classifier = adapted.model.get_base_model()
    tensors: dict[str, Tensor] = {}
    for head in heads:
        holder = nn.Module()
        holder.head = _merged_copy(classifier.get_submodule(head))
        fold_bottlenecks(holder)
        for name, tensor in holder.head.state_dict().items():
            tensors[f"base_model.model.{head}.{name}"] = tensor
    return tensors


@torch.no_grad()
def _merged_copy(module: nn.Module) -> nn.Module:
    """A copy of `module` in which every adapted layer is the dense layer it amounts to."""
    holder = nn.Module()
    holder.root = copy.deepcopy(module)
    for name, layer in list(holder.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            holder.set_submodule(name, layer.get_base_layer())
    return holder.root


def _from_anywhere(base_model: str | None) -> str | None:
    """A folder's full path, so that it is found from any working directory; a hub name as it is."""
    return str(Path(base_model).resolve()) if base_model and Path(base_model).is_dir() else base_model


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def _inside(name: str, modules: list[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


FORMATS: dict[str, Callable[[Adapted, Path, str | None], None]] = {
    "lora": _write_lora,
    "merged": _write_merged,
}
