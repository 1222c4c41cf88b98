from typing import Any

import pytest
import torch
from architectures import DECODERS, ENCODERS, tiny_config
from peft.tuners import lora
from torch import nn
from transformers import AutoModelForSequenceClassification

from musclelora.adapter import (
    ALL_ADAPTED,
    Adapted,
    Backbone,
    BottleneckHead,
    MultiScaleLinear,
    MuScleLoraConfig,
    attach,
    find_placement,
    preset_for,
)
from musclelora.errors import ModelError, UsageError

IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 5, 3, 0, 0]])
MASK = (IDS != 0).long()


def in_blocks(pattern: str, names: str, blocks: int = 2) -> set[str]:
    return {pattern.format(block, name) for block in range(blocks) for name in names.split()}


DEBERTA = "deberta.encoder.layer.{}.attention.{}"
ALBERT = "albert.encoder.albert_layer_groups.0.albert_layers.{}.attention.{}"
LAYERS = "model.layers.{}.self_attn.{}"
SELF = "self.query self.key self.value output.dense"
# dense, output, attention projections, read from the architectures' own definitions
EXPECTED: dict[str, tuple[str | None, str, set[str]]] = {
    "bert": ("bert.pooler.dense", "classifier", in_blocks("bert.encoder.layer.{}.attention.{}", SELF)),
    "roberta": (
        "classifier.dense",
        "classifier.out_proj",
        in_blocks("roberta.encoder.layer.{}.attention.{}", SELF),
    ),
    "distilbert": (
        "pre_classifier",
        "classifier",
        in_blocks("distilbert.transformer.layer.{}.attention.{}", "q_lin k_lin v_lin out_lin"),
    ),
    "deberta-v2": (
        "pooler.dense",
        "classifier",
        in_blocks(
            DEBERTA,
            "self.query_proj self.key_proj self.value_proj self.pos_key_proj self.pos_query_proj "
            "output.dense",
        ),
    ),
    "deberta-v3": (
        "pooler.dense",
        "classifier",
        in_blocks(DEBERTA, "self.query_proj self.key_proj self.value_proj output.dense"),
    ),
    "mpnet": (
        "classifier.dense",
        "classifier.out_proj",
        in_blocks("mpnet.encoder.layer.{}.attention.attn.{}", "q k v o"),
    ),
    "electra": (
        "classifier.dense",
        "classifier.out_proj",
        in_blocks("electra.encoder.layer.{}.attention.{}", SELF),
    ),
    "albert": ("albert.pooler", "classifier", in_blocks(ALBERT, "query key value dense", blocks=1)),
    "xlm-roberta": (
        "classifier.dense",
        "classifier.out_proj",
        in_blocks("roberta.encoder.layer.{}.attention.{}", SELF),
    ),
    "modernbert": ("head.dense", "classifier", in_blocks("model.layers.{}.attn.{}", "Wqkv Wo")),
    "gpt2": (None, "score", in_blocks("transformer.h.{}.attn.{}", "c_attn c_proj")),
    "gpt-neox": (None, "score", in_blocks("gpt_neox.layers.{}.attention.{}", "query_key_value dense")),
    "opt": (
        None,
        "score",
        in_blocks("model.decoder.layers.{}.self_attn.{}", "q_proj k_proj v_proj out_proj"),
    ),
    "phi": (None, "score", in_blocks(LAYERS, "q_proj k_proj v_proj dense")),
    "phi3": (None, "score", in_blocks(LAYERS, "qkv_proj o_proj")),
    **{
        name: (None, "score", in_blocks(LAYERS, "q_proj k_proj v_proj o_proj"))
        for name in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2")
    },
}


def classifier(architecture: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(tiny_config(architecture, **changes)).eval()


def adapted_layers(adapted: Adapted) -> dict[str, bool]:
    """Whether each adapted layer is a multi-scale one, by its name in the classifier."""
    return {
        name: isinstance(module, MultiScaleLinear)
        for name, module in adapted.model.get_base_model().named_modules()
        if isinstance(module, lora.LoraLayer)
    }


@pytest.mark.parametrize("architecture", EXPECTED)
def test_the_layers_are_found_by_full_name(architecture: str) -> None:
    model = classifier(architecture)
    dense, output, attention = EXPECTED[architecture]
    for training in (True, False):
        model.train(training)
        placement = find_placement(model)
        assert placement.dense == dense
        assert placement.output == output
        assert set(placement.attention) == attention
        assert model.training is training
    hooked = [name for name, module in model.named_modules() if module._forward_pre_hooks]
    assert not hooked


@pytest.mark.parametrize("architecture", EXPECTED)
@pytest.mark.parametrize("labels", [2, 32], ids=["2 labels", "as many labels as the model is wide"])
def test_the_number_of_labels_does_not_matter(architecture: str, labels: int) -> None:
    names = {"id2label": {i: str(i) for i in range(labels)}, "label2id": {str(i): i for i in range(labels)}}
    placement = find_placement(classifier(architecture, **names))
    assert (placement.dense, placement.output) == EXPECTED[architecture][:2]


@pytest.mark.parametrize("trained", [False, True], ids=["frozen output", "trained output"])
@pytest.mark.parametrize("architecture", ENCODERS)
def test_exactly_the_adapter_is_trained(architecture: str, trained: bool, adapt: Any) -> None:
    adapted = adapt(architecture, train_output_layer=trained)
    dense, output, attention = EXPECTED[architecture]
    assert adapted_layers(adapted) == {**dict.fromkeys(attention, False), dense: True}
    wanted = {
        f"base_model.model.{layer}.{factor}.default.weight"
        for layer in (*attention, dense)
        for factor in ("lora_A", "lora_B")
    }
    if trained:
        wanted |= {f"base_model.model.{output}.{name}" for name in ("weight", "bias")}
    assert {name for name, p in adapted.model.named_parameters() if p.requires_grad} == wanted
    # a run keeps the random output layer even where it is frozen
    kept = wanted | {f"base_model.model.{output}.{name}" for name in ("weight", "bias")}
    assert set(adapted.tensors()) == adapted.own == kept
    gradients_reach_what_is_trained(adapted)


def gradients_reach_what_is_trained(adapted: Adapted) -> None:
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    logits = adapted.model(input_ids=IDS, attention_mask=MASK).logits
    nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    for name, parameter in adapted.model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == parameter.requires_grad, name


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_backbone_without_such_a_layer_gets_a_bottleneck(architecture: str, adapt: Any) -> None:
    adapted = adapt(architecture)
    head = adapted.model.get_base_model().score
    assert isinstance(head, BottleneckHead)
    assert adapted.placement.dense == "score.dense"
    assert adapted.placement.output == "score.out"
    attention = EXPECTED[architecture][2]
    assert adapted_layers(adapted) == {**dict.fromkeys(attention, False), "score.dense": True}
    assert head.dense.base_layer.weight.shape == (16, 32)
    # random though frozen, so kept
    kept = {"base_model.model.score.dense.base_layer.weight", "base_model.model.score.out.weight"}
    assert kept <= adapted.own
    trained = {name for name, p in adapted.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    gradients_reach_what_is_trained(adapted)


def test_the_bottleneck_folds_into_one_output_layer() -> None:
    torch.manual_seed(0)
    for labels in (3, 40):  # never narrower than the labels are many
        for bias in (True, False):
            head = BottleneckHead(nn.Linear(8, labels, bias=bias).double())
            assert head.dense.out_features == max(16, labels)
            x = torch.randn(5, 8, dtype=torch.float64)
            folded = head.folded()
            assert (folded(x) - head(x)).abs().max() < 1e-12
            assert (folded.bias is not None) == bias


def test_no_scale_factors_leaves_plain_lora(adapt: Any) -> None:
    assert adapted_layers(adapt("bert", scale_factors=[])) == dict.fromkeys(EXPECTED["bert"][2], False)
    decoder = adapt("llama", scale_factors=[])
    assert isinstance(decoder.model.get_base_model().score, nn.Linear)  # and no bottleneck


def test_every_adapted_layer_can_be_multiscale(adapt: Any) -> None:
    for architecture in ("bert", "albert"):
        dense, _, attention = EXPECTED[architecture]
        adapted = adapt(architecture, multiscale_modules=ALL_ADAPTED, scale_factors=[1, 2])
        assert adapted_layers(adapted) == dict.fromkeys((*attention, dense), True)
    decoder = adapt("gpt2", multiscale_modules=ALL_ADAPTED, scale_factors=[1, 2])
    assert adapted_layers(decoder) == dict.fromkeys(EXPECTED["gpt2"][2], True)


def test_layers_can_be_named(adapt: Any) -> None:
    adapted = adapt(
        "bert",
        target_modules=["query", "layer.1.attention.self.value"],
        multiscale_modules=["intermediate.dense"],
    )
    assert adapted_layers(adapted) == {
        "bert.encoder.layer.0.attention.self.query": False,
        "bert.encoder.layer.1.attention.self.query": False,
        "bert.encoder.layer.1.attention.self.value": False,
        "bert.encoder.layer.0.intermediate.dense": True,
        "bert.encoder.layer.1.intermediate.dense": True,
    }
    assert adapted_layers(adapt("bert", target_modules=[])) == {"bert.pooler.dense": True}


def test_the_output_layer_itself_can_be_adapted(adapt: Any) -> None:
    adapted = adapt("bert", multiscale_modules=["classifier"])
    trained = {name for name, p in adapted.model.named_parameters() if p.requires_grad}
    assert "base_model.model.classifier.lora_A.default.weight" in trained
    assert "base_model.model.classifier.base_layer.weight" not in trained
    assert "base_model.model.classifier.base_layer.weight" in adapted.own


def test_a_deep_model_is_adapted_in_every_block(adapt: Any) -> None:
    """PEFT condenses long lists of names; nothing may be lost or added by it."""
    adapted = adapt("bert", {"num_hidden_layers": 12})
    attention = in_blocks("bert.encoder.layer.{}.attention.{}", SELF, blocks=12)
    assert adapted_layers(adapted) == {**dict.fromkeys(attention, False), "bert.pooler.dense": True}


@pytest.mark.parametrize("option", ["target_modules", "multiscale_modules"])
@pytest.mark.parametrize("name", ["qeury", "word_embeddings", "encoder", "uery", ""])
def test_a_name_that_is_no_dense_layer_is_refused(option: str, name: str, adapt: Any) -> None:
    with pytest.raises(UsageError) as caught:
        adapt("bert", **{option: [name]})
    message = str(caught.value)
    assert message.startswith(f"{option}: found {name!r}")
    assert "\n" not in message
    assert "classifier" in message  # names some that exist


@pytest.mark.parametrize(
    "options",
    [
        {"bias": "all"},
        {"modules_to_save": ["classifier"]},
        {"exclude_modules": ["query"]},
        {"layers_to_transform": [0], "layers_pattern": "layer"},
    ],
)
def test_rival_options_of_peft_are_refused(options: dict[str, Any], adapt: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        adapt("bert", **options)


def test_a_task_type_changes_nothing(adapt: Any) -> None:
    assert adapt("bert", task_type="SEQ_CLS").own == adapt("bert").own


def test_nothing_to_train_is_refused(adapt: Any) -> None:
    with pytest.raises(UsageError, match="nothing to train"):
        adapt("bert", target_modules=[], scale_factors=[])


def test_without_low_rank_the_backbone_is_trained(adapt: Any) -> None:
    full = adapt("bert", low_rank=False, scale_factors=[])
    assert all(p.requires_grad for p in full.model.parameters())
    assert full.own == {name for name, _ in full.model.named_parameters()}
    multiscale = adapt("bert", low_rank=False)
    assert adapted_layers(multiscale) == {"bert.pooler.dense": True}
    assert all(p.requires_grad for p in multiscale.model.parameters())


def test_the_callers_configuration_is_left_alone(tiny_tokenizer: Any) -> None:
    settings = MuScleLoraConfig()
    before = settings.to_dict()
    for _ in range(2):
        model = classifier("bert")
        attach(Backbone("tiny", "tiny", model, tiny_tokenizer), settings, preset_for(model.config))
    assert settings.to_dict() == before


def test_a_model_without_attention_needs_names(tiny_tokenizer: Any) -> None:
    import transformers

    model = transformers.FNetForSequenceClassification(
        transformers.FNetConfig(
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=48,
            max_position_embeddings=40,
        )
    )
    model.forward = without_mask(model)
    backbone = Backbone("tiny", "tiny", model, tiny_tokenizer)
    with pytest.raises(ModelError, match="target-modules"):
        attach(backbone, MuScleLoraConfig(), preset_for(model.config))
    adapted = attach(
        backbone, MuScleLoraConfig(target_modules=["intermediate.dense"]), preset_for(model.config)
    )
    assert len(adapted_layers(adapted)) == 3


def without_mask(model: Any) -> Any:
    plain = model.forward
    return lambda input_ids, **_: plain(input_ids=input_ids)


def test_a_model_that_cannot_be_run_is_refused_in_one_line() -> None:
    model = classifier("bert")
    model.forward = lambda pixel_values: pixel_values
    with pytest.raises(ModelError) as caught:
        find_placement(model)
    assert "\n" not in str(caught.value)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_special_tokens_outside_the_vocabulary_do_no_harm() -> None:
    model = classifier("bert", eos_token_id=50_000)
    assert find_placement(model).dense == "bert.pooler.dense"
