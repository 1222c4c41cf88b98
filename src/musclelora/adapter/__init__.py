"""The adapter: its configuration, the multi-scale layer, putting it into a model, and taking it out again."""

from musclelora.adapter.attach import Adapted, attach
from musclelora.adapter.backbone import DEFAULT_MODEL, Backbone, load_backbone
from musclelora.adapter.causal import DEFAULT_DECODER, load_causal_backbone
from musclelora.adapter.config import ALL_ADAPTED, MuScleLoraConfig
from musclelora.adapter.export import export, merged_model
from musclelora.adapter.layer import MultiScaleLinear
from musclelora.adapter.placement import BottleneckHead, Placement, find_placement
from musclelora.adapter.presets import PRESETS, Preset, preset_for

__all__ = [
    "ALL_ADAPTED",
    "DEFAULT_DECODER",
    "DEFAULT_MODEL",
    "PRESETS",
    "Adapted",
    "Backbone",
    "BottleneckHead",
    "MuScleLoraConfig",
    "MultiScaleLinear",
    "Placement",
    "Preset",
    "attach",
    "export",
    "find_placement",
    "load_backbone",
    "load_causal_backbone",
    "merged_model",
    "preset_for",
]
