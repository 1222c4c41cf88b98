from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import tiny_config
from peft import LoraConfig, get_peft_model
from peft.tuners import lora
from transformers import AutoModelForSequenceClassification

from musclelora.adapter import ALL_ADAPTED, MultiScaleLinear, MuScleLoraConfig
from musclelora.errors import UsageError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "names", "found"),
    [
        ({"scale_factors": [1, 0]}, "scale_factors", "0"),
        ({"scale_factors": [-2.0]}, "scale_factors", "-2.0"),
        ({"scale_factors": [1, NAN]}, "scale_factors", "nan"),
        ({"scale_factors": [INF]}, "scale_factors", "inf"),
        ({"scale_factors": [1e-60]}, "scale_factors", "1e-60"),  # zero in float32
        ({"scale_factors": [1e60]}, "scale_factors", "1e+60"),  # infinite in float32
        ({"scale_factors": [1, "4"]}, "scale_factors", "'4'"),
        ({"scale_factors": [None]}, "scale_factors", "None"),
        ({"scale_factors": [True]}, "scale_factors", "True"),
        ({"scale_factors": "1 4 8"}, "scale_factors", "'1 4 8'"),
        ({"scale_factors": 4}, "scale_factors", "4"),
        ({"r": 0}, "r", "0"),
        ({"r": -1}, "r", "-1"),
        ({"r": 2.5}, "r", "2.5"),
        ({"r": None}, "r", "None"),
        ({"inner_rank": 0}, "inner_rank", "0"),
        ({"inner_rank": 1.5}, "inner_rank", "1.5"),
        ({"lora_alpha": 0}, "lora_alpha", "0"),
        ({"lora_alpha": NAN}, "lora_alpha", "nan"),
        ({"multiscale_alpha": -6}, "multiscale_alpha", "-6"),
        ({"multiscale_alpha": INF}, "multiscale_alpha", "inf"),
        ({"multiscale_alpha": "6"}, "multiscale_alpha", "'6'"),
        ({"lora_dropout": 1.0}, "lora_dropout", "1.0"),
        ({"lora_dropout": NAN}, "lora_dropout", "nan"),
        ({"use_dora": True}, "use_dora", "set"),
        ({"use_rslora": True}, "use_rslora", "set"),
        ({"lora_bias": True}, "lora_bias", "set"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights", "set"),
        ({"init_lora_weights": "olora"}, "init_lora_weights", "set"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(options: dict[str, Any], names: str, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        MuScleLoraConfig(**options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(names)
    assert f"found {found}" in message
    assert "expected" in message


@pytest.mark.parametrize(
    "scales", [(1, 4), np.array([1.0, 4.0]), [np.float32(1), np.int64(4)]], ids=["tuple", "array", "scalars"]
)
def test_scale_factors_of_any_kind_become_plain_floats(scales: Any) -> None:
    settings = MuScleLoraConfig(scale_factors=scales)
    assert settings.scale_factors == [1.0, 4.0]
    assert all(type(scale) is float for scale in settings.scale_factors)


def plain(**options: Any) -> torch.nn.Module:
    model = AutoModelForSequenceClassification.from_config(tiny_config("bert"))
    return get_peft_model(model, MuScleLoraConfig(**options))


def layers(model: torch.nn.Module) -> dict[str, lora.LoraLayer]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, lora.LoraLayer)
    }


@pytest.mark.parametrize("names", ["pooler.dense", ["pooler.dense"], ("pooler.dense",), {"pooler.dense"}])
def test_it_works_with_plain_get_peft_model(names: Any) -> None:
    model = plain(
        target_modules=["query", "value"],
        scale_factors=[1, 4, 8],
        inner_rank=2,
        multiscale_alpha=5.0,
        multiscale_modules=names,
        r=4,
        lora_alpha=6,
    )
    found = layers(model)
    kinds = {name: isinstance(layer, MultiScaleLinear) for name, layer in found.items()}
    attention = [f"bert.encoder.layer.{i}.attention.self.{n}" for i in (0, 1) for n in ("query", "value")]
    assert kinds == {**dict.fromkeys(attention, False), "bert.pooler.dense": True}
    # α / r of the plain layers, α / r of the multi-scale one, whatever its total rank
    assert found[attention[0]].scaling["default"] == 6 / 4
    assert found["bert.pooler.dense"].scaling["default"] == pytest.approx(5 / 2, abs=0)
    assert found["bert.pooler.dense"].lora_A["default"].weight.shape == (6, 32)


def test_all_adapted_with_plain_get_peft_model() -> None:
    model = plain(
        target_modules=["query", "pooler.dense"], scale_factors=[1, 4], multiscale_modules=ALL_ADAPTED
    )
    found = layers(model)
    assert len(found) == 3
    assert all(isinstance(layer, MultiScaleLinear) for layer in found.values())
    assert {layer.scaling["default"] for layer in found.values()} == {6.0}
    assert {layer.r["default"] for layer in found.values()} == {2}


def test_no_scale_factors_is_plain_lora() -> None:
    model = plain(target_modules=["query"], scale_factors=[])
    assert not any(isinstance(layer, MultiScaleLinear) for layer in layers(model).values())


@pytest.mark.parametrize(
    "options",
    [{}, {"scale_factors": [1, 2]}, {"multiscale_modules": ["pooler.dense"]}],
    ids=["neither", "no modules", "no scales"],
)
def test_plain_get_peft_model_does_not_silently_leave_the_method_out(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="scale_factors and multiscale_modules: found None"):
        plain(target_modules=["query"], **options)


def test_a_rank_pattern_of_the_user_does_not_reach_the_multiscale_layer() -> None:
    model = plain(
        target_modules=["output.dense"],
        scale_factors=[1, 2],
        multiscale_modules=["pooler.dense"],
        rank_pattern={"dense": 5},
        alpha_pattern={"dense": 5},
    )
    found = layers(model)
    assert found["bert.pooler.dense"].r["default"] == 2
    assert found["bert.pooler.dense"].scaling["default"] == 6.0
    assert {layer.r["default"] for name, layer in found.items() if "pooler" not in name} == {5}


def test_the_configuration_survives_saving(tmp_path: Path) -> None:
    settings = MuScleLoraConfig(
        target_modules=["query"],
        scale_factors=[1, 2.5],
        inner_rank=2,
        multiscale_alpha=4.0,
        multiscale_modules=["pooler.dense"],
        low_rank=True,
        train_output_layer=True,
    )
    settings.save_pretrained(str(tmp_path))
    loaded = MuScleLoraConfig.from_pretrained(tmp_path)
    assert type(loaded) is MuScleLoraConfig
    assert loaded.to_dict() == settings.to_dict()
    with pytest.warns(UserWarning, match="scale_factors"):
        assert type(LoraConfig.from_pretrained(tmp_path)) is LoraConfig


def test_published_defaults() -> None:
    settings = MuScleLoraConfig()
    assert (settings.r, settings.lora_alpha, settings.lora_dropout) == (8, 32, 0)
    assert (settings.inner_rank, settings.multiscale_alpha) == (1, 6)
    assert (settings.low_rank, settings.train_output_layer) == (True, False)
