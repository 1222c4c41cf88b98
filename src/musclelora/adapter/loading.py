"""How a backbone's weights are held, and which attention it computes: options of whatever trains."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Final

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from musclelora.data.messages import cut
from musclelora.data.model_source import Source
from musclelora.errors import UsageError

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "attn_implementation": ("sdpa", "eager", "flash_attention_2"),
    "dtype": ("float32", "bfloat16"),
    "quantize": ("nf4", "int8"),
}
"""The values of each option; None is what transformers picks, float32, and weights as they are."""


def loading_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `arguments` that say how a backbone is loaded, as options of ``load_backbone``."""
    return {name: arguments[name] for name in CHOICES if arguments.get(name) is not None}


def check_loading(**options: str | None) -> None:
    """Check the options in :data:`CHOICES`, and that what they need is there.

    Raises:
        UsageError: an unknown value, or a package or device is missing.
    """
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not None and value not in CHOICES[name]:
            raise UsageError(f"{flag}: found {value!r}, expected one of {', '.join(CHOICES[name])}")
        if value == "flash_attention_2":
            _check_flash(flag, options.get("dtype"))
        if name == "quantize" and value is not None:
            _check_bitsandbytes(flag)


def weight_options(
    config: PreTrainedConfig,
    *,
    attn_implementation: str | None,
    dtype: str | None,
    quantize: str | None,
    family: Any = AutoModelForSequenceClassification,
) -> dict[str, Any]:
    """What ``from_pretrained`` of a family of models is given for these options.

    Every dense layer below the head is quantised. The head stays as it is: a classifier's starts random, and
    the multi-scale layer sits in it.
    """
    options: dict[str, Any] = {"dtype": dtype or "float32"}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if quantize is not None:
        from transformers import BitsAndBytesConfig

        how: dict[str, Any] = {"load_in_8bit": True}
        if quantize == "nf4":
            how = {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
                "bnb_4bit_compute_dtype": options["dtype"],
            }
        options["quantization_config"] = BitsAndBytesConfig(
            **how, llm_int8_skip_modules=_heads(config, family)
        )
    return options


def keep_differentiable(model: PreTrainedModel) -> None:
    """Keep the 4-bit layers of a model on a CPU in the layout that gradients pass through.

    On processors with AVX-512 bfloat16 bitsandbytes lays a layer's weight out for inference in its first
    evaluation, for good, and no gradient reaches what is below it from then on.
    """
    for module in model.modules():
        if hasattr(module, _INFERENCE_LAYOUT):
            setattr(module, _INFERENCE_LAYOUT, False)


_INFERENCE_LAYOUT = "support_avx512bf16_for_cpu"


def is_quantized(model: PreTrainedModel) -> bool:
    """Whether bitsandbytes holds the weights."""
    return bool(getattr(model, "is_quantized", False))


def check_weights(name: str, source: Source, quantize: str | None) -> None:
    """Check that a model's weights can be quantised, if that is asked.

    Raises:
        UsageError: they come as a GGUF file.
    """
    if quantize is not None and source.gguf is not None:
        raise UsageError(
            f"--quantize: found with {name}, whose weights come as a GGUF file; expected a hub name or a "
            "folder with safetensors; leave it out"
        )


def _heads(config: PreTrainedConfig, family: Any) -> list[str]:
    """The names of a model's modules beside and after its blocks: the head, and a pooler."""
    with torch.device("meta"):
        model = family.from_config(config)
    heads = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    return [*heads, "pooler"]


def _check_flash(flag: str, dtype: str | None) -> None:
    if dtype != "bfloat16":
        raise UsageError(
            f"{flag} flash_attention_2: found with weights in {dtype or 'float32'}, expected bfloat16; give "
            "--dtype bfloat16, or choose sdpa"
        )
    if importlib.util.find_spec("flash_attn") is None:
        raise UsageError(
            f"{flag} flash_attention_2: the package flash_attn is missing; run pip install flash-attn on a "
            "machine with a GPU, or leave it out"
        )
    if not torch.cuda.is_available():
        raise UsageError(f"{flag} flash_attention_2: found no GPU, expected one; choose sdpa or leave it out")


def _check_bitsandbytes(flag: str) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            f"{flag}: the package bitsandbytes is missing; run pip install 'musclelora[quantize]', or leave "
            "it out"
        )
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # its library does not suit the machine
        reason = cut(str(error))
        raise UsageError(
            f"{flag}: bitsandbytes cannot run here ({reason}); use a machine that it supports or leave it out"
        ) from error
