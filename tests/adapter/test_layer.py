import copy
import math
from pathlib import Path

import pytest
import torch
from architectures import tiny_config
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners import lora
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

from musclelora.adapter import MultiScaleLinear, MuScleLoraConfig

SCALES = (0.1, 1.0, 2.5, 28.0)
IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 5, 3, 0, 0]])
MASK = (IDS != 0).long()


def config(inner_rank: int = 3, alpha: float = 5.0, scales: tuple[float, ...] = SCALES) -> MuScleLoraConfig:
    return MuScleLoraConfig(
        scale_factors=list(scales),
        inner_rank=inner_rank,
        multiscale_alpha=alpha,
        multiscale_modules=["dense"],
    )


def layer(base: nn.Module, settings: MuScleLoraConfig) -> MultiScaleLinear:
    return MultiScaleLinear(
        base,
        "default",
        config=settings,
        r=settings.rank_pattern["dense"],
        lora_alpha=settings.alpha_pattern["dense"],
        target_name="dense",
    )


def formula(x: Tensor, base: nn.Linear, multi: MultiScaleLinear, settings: MuScleLoraConfig) -> Tensor:
    """y = W x + b + (α / r) · R · diag(K) · L · x, one output, input and branch at a time."""
    low, up = multi.lora_A["default"].weight.tolist(), multi.lora_B["default"].weight.tolist()
    weight, bias = base.weight.tolist(), base.bias.tolist()
    r, strength = settings.inner_rank, settings.multiscale_alpha / settings.inner_rank
    rows = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        outputs = []
        for out in range(base.out_features):
            y = bias[out] + sum(w * v for w, v in zip(weight[out], row, strict=True))
            for branch, scale in enumerate(settings.scale_factors or []):
                for inner in range(branch * r, (branch + 1) * r):
                    inside = sum(w * v for w, v in zip(low[inner], row, strict=True))
                    y += strength * up[out][inner] * scale * inside
            outputs.append(y)
        rows.append(outputs)
    return torch.tensor(rows, dtype=torch.float64).reshape(*x.shape[:-1], base.out_features)


def test_forward_is_the_formula_written_out_in_float64() -> None:
    torch.manual_seed(0)
    base, settings = nn.Linear(6, 4).double(), config()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    multi = layer(base, settings)
    expected = formula(x, base, multi, settings)
    assert (multi(x) - expected).abs().max() < 1e-12 * expected.abs().max()
    assert (multi(x) - base(x)).abs().max() > 0.1  # it is perturbed at start


def test_each_scale_factor_is_repeated_once_per_inner_rank() -> None:
    assert layer(nn.Linear(6, 4).double(), config(inner_rank=2, scales=(1, 4))).scales(
        "default"
    ).tolist() == [
        1.0,
        1.0,
        4.0,
        4.0,
    ]


def test_both_factors_start_kaiming_uniform() -> None:
    torch.manual_seed(0)
    multi = layer(nn.Linear(300, 200), config(inner_rank=20))
    low, up = multi.lora_A["default"].weight, multi.lora_B["default"].weight
    for weight, fan_in in ((low, 300), (up, 80)):
        # gain² = 2 / (1 + a²) with a² = 5; bound = gain · √(3 / fan_in) = 1 / √fan_in
        bound = 1 / math.sqrt(fan_in)
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.99 * bound
        assert abs(weight.std().item() - bound / math.sqrt(3)) < 0.02 * bound
    assert low.shape == (80, 300)
    assert up.shape == (200, 80)


@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv1d"])
def test_delta_weight_merging_and_unmerging(conv: bool) -> None:
    torch.manual_seed(0)
    base = (Conv1D(4, 6) if conv else nn.Linear(6, 4)).double()
    before = base.weight.detach().clone()
    settings = config()
    settings.fan_in_fan_out = conv
    multi = layer(base, settings)
    x = torch.randn(5, 6, dtype=torch.float64)
    y = multi(x)
    low, up = multi.lora_A["default"].weight, multi.lora_B["default"].weight
    k = torch.tensor([s for s in SCALES for _ in range(3)], dtype=torch.float64)
    delta = 5 / 3 * torch.einsum("ok,k,ki->oi", up, k, low)
    found = multi.get_delta_weight("default")
    assert (found - (delta.T if conv else delta)).abs().max() < 1e-12
    multi.merge()
    assert (multi(x) - y).abs().max() < 1e-11
    assert (base.weight - before - found).abs().max() < 1e-12
    assert (base(x) - y).abs().max() < 1e-11
    multi.unmerge()
    assert (base.weight - before).abs().max() < 1e-12
    assert (multi(x) - y).abs().max() < 1e-11
    multi.enable_adapters(False)
    assert torch.equal(multi(x), base(x))


def peft_model(architecture: str = "bert") -> PeftModel:
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_config(tiny_config(architecture))
    attention, dense = ("c_attn", "h.1.mlp.c_proj") if architecture == "gpt2" else ("query", "pooler.dense")
    settings = MuScleLoraConfig(
        target_modules=[attention], scale_factors=list(SCALES), multiscale_modules=[dense], inner_rank=2
    )
    model = get_peft_model(classifier, settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model.eval()


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_what_peft_saves_loads_as_plain_lora(architecture: str, tmp_path: Path) -> None:
    """The scale factors are folded into the weights file, so PEFT's own LoRA class is enough."""
    model = peft_model(architecture)
    expected = model(IDS, attention_mask=MASK).logits
    base = copy.deepcopy(model).unload()
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="scale_factors"):  # PEFT ignores the fields that it does not know
        loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    assert not any(isinstance(module, MultiScaleLinear) for module in loaded.modules())
    assert (loaded(IDS, attention_mask=MASK).logits - expected).abs().max() < 1e-5


def test_merge_and_unload_leaves_an_ordinary_model() -> None:
    for architecture in ("bert", "gpt2"):
        model = peft_model(architecture)
        expected = model(IDS, attention_mask=MASK).logits
        merged = model.merge_and_unload()
        assert not any(isinstance(module, lora.LoraLayer) for module in merged.modules())
        assert (merged(IDS, attention_mask=MASK).logits - expected).abs().max() < 1e-5


def test_state_dict_is_the_folded_form_and_loads_back() -> None:
    torch.manual_seed(0)
    multi = layer(nn.Linear(6, 4), config())
    state = multi.state_dict()
    k = torch.tensor(SCALES).repeat_interleave(3)
    assert torch.equal(state["lora_A.default.weight"], multi.lora_A["default"].weight * k[:, None])
    assert not any("scales" in name for name in state)
    other = layer(nn.Linear(6, 4), config())
    kept = {name: tensor.clone() for name, tensor in state.items()}
    other.load_state_dict(state)
    x = torch.randn(3, 6)
    assert (other(x) - multi(x)).abs().max() < 1e-5
    assert all(torch.equal(state[name], kept[name]) for name in kept)  # the caller's tensors are untouched


def test_a_copy_folds_with_its_own_scales() -> None:
    multi = layer(nn.Linear(6, 4), config())
    twin = copy.deepcopy(multi)
    multi.scales("default").fill_(1)
    twin.load_state_dict(twin.state_dict())
    assert (twin.lora_A["default"].weight - multi.lora_A["default"].weight).abs().max() < 1e-6


def test_half_precision_models_keep_their_dtype() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        multi = layer(nn.Linear(6, 4).to(dtype), config())
        x = torch.randn(3, 6, dtype=dtype)
        y = multi(x)
        assert y.dtype == dtype
        exact = copy.deepcopy(multi).double()
        assert (y - exact(x.double())).abs().max() < 0.05 * exact(x.double()).abs().max()


def test_a_second_plain_adapter_on_the_same_layer() -> None:
    model = peft_model()
    model.add_adapter("second", LoraConfig(r=4, target_modules=["pooler.dense"], init_lora_weights=False))
    dense = model.get_submodule("base_model.model.bert.pooler.dense")
    assert dense.scales("second").tolist() == [1.0] * 4
    x = torch.randn(2, 32)
    dense.set_adapter("second")
    low, up = dense.lora_A["second"].weight, dense.lora_B["second"].weight
    expected = dense.base_layer(x) + 8 / 4 * x @ low.T @ up.T
    assert (dense(x) - expected).abs().max() < 1e-5
