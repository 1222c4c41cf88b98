"""Settings per backbone: the published ones, and the rule for a backbone that was not in the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Every setting that depends on the backbone. Names and meanings are those of the two config classes.

    Attributes:
        name: what the run says it used.
        source: where the numbers come from, in words.
    """

    name: str
    source: str
    scale_factors: tuple[float, ...]
    inner_rank: int = 1
    multiscale_alpha: float = 6.0
    r: int = 8
    lora_alpha: int = 32
    train_output_layer: bool = False
    learning_rate: float = 2e-5
    batch_size: int = 32
    epochs: int = 10
    trusted_size: int = 96
    max_raw_ratio: float = 0.1
    mix_from_epoch: int = 1
    min_trusted_loss: float = 0.4

    def adapter_fields(self) -> dict[str, Any]:
        """What of it is a field of :class:`~musclelora.adapter.MuScleLoraConfig`."""
        fields = {name: getattr(self, name) for name in _ADAPTER_FIELDS}
        return {**fields, "scale_factors": list(self.scale_factors)}


_ADAPTER_FIELDS = ("r", "lora_alpha", "inner_rank", "multiscale_alpha", "train_output_layer")
BASE_WIDTHS = range(768, 1024)
NARROW_DECODER = 1600
"""The width of GPT2-XL, the narrowest decoder of the paper."""
_RULE = "rule for a backbone that was not in the paper"
_PAPER = "published settings (arXiv 2402.12026)"

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("bert-base", _PAPER, (1, 4, 8, 12, 16, 20, 24, 28)),
        Preset("roberta-base", _PAPER, (1, 2, 4, 6, 8, 10, 12, 14, 16)),
        Preset("encoder-large", _PAPER, (1, 2, 3, 4, 5, 6, 7, 8, 9)),
        Preset(
            "decoder",
            _PAPER,
            (1, 2, 3, 4),
            multiscale_alpha=4.0,
            r=2,
            lora_alpha=8,
            learning_rate=1e-5,
            batch_size=16,
            epochs=5,
            trusted_size=128,
            max_raw_ratio=0.0,
            min_trusted_loss=0.0,
        ),
        Preset(
            "instruction",
            f"{_PAPER} of instruction tuning",
            (),
            r=4,
            lora_alpha=8,
            batch_size=4,
            epochs=3,
            trusted_size=32,
            max_raw_ratio=0.0,
            min_trusted_loss=0.0,
        ),
        Preset(
            "base-encoder",
            f"{_RULE}: settings for training without alignment",
            (1, 4, 8, 12, 16, 20, 24, 28),
            train_output_layer=True,
            learning_rate=3e-4,
            epochs=4,
            max_raw_ratio=0.0,
        ),
        Preset(
            "small-encoder",
            f"{_RULE}: settings for narrow encoders",
            (1, 2, 3, 4, 5, 6, 7, 8, 9),
            train_output_layer=True,
            learning_rate=1e-3,
            epochs=4,
            max_raw_ratio=0.0,
        ),
    )
}

_MATCHES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("bert-base", lambda c: c.model_type == "bert" and _size(c) == (768, 12)),
    ("roberta-base", lambda c: c.model_type == "roberta" and _size(c) == (768, 12)),
    ("encoder-large", lambda c: c.model_type in ("bert", "roberta") and _size(c) == (1024, 24)),
    ("decoder", lambda c: (c.model_type, *_size(c)) in {("llama", 4096, 32), ("gpt2", 1600, 48)}),
)


def preset_for(config: Any, *, aligned: bool = True) -> Preset:
    """The preset of a backbone.

    A backbone of the paper gets the published settings, which are for aligned training. Any other one gets
    :func:`rule_for`. Without alignment any encoder of BERT-base's width gets ``base-encoder``: at the
    published learning rate, with its output layer frozen, it learns next to nothing of some thousand rows
    (``benchmarks/studies/base_encoder.py``).

    Args:
        config: the backbone's ``transformers`` configuration.
        aligned: whether updates are projected on the gradient of trusted rows.
    """
    if not aligned and not is_decoder(config) and _size(config)[0] in BASE_WIDTHS:
        return PRESETS["base-encoder"]
    for name, matches in _MATCHES:
        if matches(config):
            return PRESETS[name]
    return rule_for(config)


def rule_for(config: Any) -> Preset:
    """The documented rule for a backbone that was not in the paper (see docs/presets.md).

    Decoders (they have a causal head and no masked one) take the published decoder settings. One narrower
    than the published ones moves too little at their learning rate: it takes a higher one, and its output
    layer is trained. Encoders take
    those of the published encoder that is nearest in width: BERT-base from 768 on, the large ones from 1024
    on. A narrower encoder moves too little at their learning rates; what it gets was chosen on BBC news by
    accuracy on held-out clean rows (``benchmarks/studies/narrow_encoder.py``).
    """
    width = _size(config)[0]
    if is_decoder(config) and width < NARROW_DECODER:
        return replace(
            PRESETS["decoder"],
            source=_rule(
                "the published decoder settings, but for a narrow one's learning rate and output layer"
            ),
            learning_rate=5e-4,
            train_output_layer=True,
        )
    if is_decoder(config):
        return replace(PRESETS["decoder"], source=_rule("the published decoder settings"))
    if width >= 1024:
        return replace(PRESETS["encoder-large"], source=_rule("the settings of the published large encoders"))
    if width in BASE_WIDTHS:
        return replace(PRESETS["bert-base"], source=_rule("the settings of BERT-base"))
    return PRESETS["small-encoder"]


def _rule(what: str) -> str:
    return f"{_RULE}: {what}"


def _size(config: Any) -> tuple[int, int]:
    """Width and depth, under whichever names the architecture uses; 0 where it names neither."""
    width = next(
        (getattr(config, n) for n in ("hidden_size", "dim", "d_model", "n_embd") if hasattr(config, n)), 0
    )
    depth = next(
        (getattr(config, n) for n in ("num_hidden_layers", "n_layers", "n_layer") if hasattr(config, n)), 0
    )
    return int(width or 0), int(depth or 0)


def is_decoder(config: Any) -> bool:
    """Whether a configuration is a decoder's: it has a causal head and no masked one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    # Encoders often have a causal head as well; a decoder has no masked one.
    return config.model_type in CAUSAL and config.model_type not in MASKED
