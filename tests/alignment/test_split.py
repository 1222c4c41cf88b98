import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import DECODERS, tiny_config
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    PreTrainedTokenizerFast,
)

from musclelora.adapter import Backbone, MultiScaleLinear, MuScleLoraConfig, attach, preset_for
from musclelora.alignment import NotSeparableError, TwoGradients

EXACT = 1e-9
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
Batch = dict[str, Tensor]
Gradients = dict[str, tuple[Tensor | None, Tensor | None]]


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def call(model: nn.Module, batch: Batch) -> Tensor:
    out = (
        model(**{k: v for k, v in batch.items() if k != "labels"})
        if "input_ids" in batch
        else model(batch["x"])
    )
    return out if isinstance(out, Tensor) else out.logits


def half(batch: Batch, rows: slice) -> Batch:
    return {name: tensor[rows] for name, tensor in batch.items()}


def separate(model: nn.Module, batches: list[tuple[Batch, int]], context: Any = None) -> Gradients:
    """The definition: two backward passes of their own, summed over the accumulated batches."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = []
    for second in (False, True):
        model.zero_grad()
        for batch, boundary in batches:
            part = half(batch, slice(boundary, None) if second else slice(boundary))
            with context() if context else torch.enable_grad():
                loss = loss_of(call(model, part), part["labels"])
            loss.backward()
        found.append({n: None if p.grad is None else p.grad.clone() for n, p in parameters.items()})
    model.zero_grad()
    return {name: (found[0][name], found[1][name]) for name in parameters}


def together(
    model: nn.Module, batches: list[tuple[Batch, int]], context: Any = None, split: TwoGradients | None = None
) -> Gradients:
    """One pass a batch."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    ours = split or TwoGradients(model)
    model.zero_grad()
    for batch, boundary in batches:
        labels = batch["labels"]
        with ours.rows(boundary, len(labels)):
            with context() if context else torch.enable_grad():
                logits = call(model, batch)
                loss = loss_of(logits[:boundary], labels[:boundary]) + loss_of(
                    logits[boundary:], labels[boundary:]
                )
            loss.backward()
    found = {n: (p.grad, ours.trusted.get(p)) for n, p in parameters.items()}
    found = {n: tuple(None if x is None else x.clone() for x in pair) for n, pair in found.items()}
    if split is None:
        ours.close()
    model.zero_grad()
    return found  # type: ignore[return-value]


def assert_same(found: Gradients, expected: Gradients, tolerance: float = EXACT) -> None:
    assert found.keys() == expected.keys()
    assert any(e is not None and e.abs().max() > 0 for pair in expected.values() for e in pair)
    for name, pair in expected.items():
        for ours, theirs in zip(found[name], pair, strict=True):
            assert (ours is None) == (theirs is None), name
            if ours is not None and theirs is not None:
                assert ours.dtype == theirs.dtype
                assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max(), name


def compare(model: nn.Module, *batches: tuple[Batch, int]) -> None:
    assert_same(together(model, list(batches)), separate(model, list(batches)))


def rows_of(count: int, seed: int = 0, length: int = 7, labels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 64, (count, length), generator=generator)
    lengths = torch.randint(2, length + 1, (count, 1), generator=generator)
    mask = (torch.arange(length) < lengths).long()
    return {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "labels": torch.randint(labels, (count,), generator=generator),
    }


def vectors(count: int, seed: int = 0, width: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(count, width, generator=generator, dtype=torch.float64),
        "labels": torch.randint(3, (count,), generator=generator),
    }


class Words(nn.Module):
    """Embedding, layer norm, dense layers with and without bias, over (rows, length) ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 8)
        self.norm = nn.LayerNorm(8)
        self.first = nn.Linear(8, 6)
        self.second = nn.Linear(6, 3, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = torch.tanh(self.first(self.norm(self.embedding(input_ids))))
        return self.second((x * attention_mask[..., None]).mean(1))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def adapted(tiny_tokenizer: PreTrainedTokenizerFast) -> Callable[..., nn.Module]:
    def build(config: Any, **options: Any) -> nn.Module:
        model = AutoModelForSequenceClassification.from_config(config).double()
        backbone = Backbone("tiny", "tiny", model, tiny_tokenizer)
        result = attach(backbone, MuScleLoraConfig(**options), preset_for(model.config)).model
        with torch.no_grad():
            for parameter in result.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.1)
        return result.eval()

    return build


def bert(adapted: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return adapted(BertConfig(**SIZES), **options)


# ---- equal to two passes ----------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_layers_of_every_kind_with_halves_of_any_size(first: int, second: int, seed: int) -> None:
    compare(Words().double(), (rows_of(first + second, seed), first))


def test_dense_layers_on_vectors() -> None:
    compare(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double(), (vectors(6), 2))


def test_frozen_parameters_get_nothing() -> None:
    model = Words().double()
    model.first.weight.requires_grad_(False)
    model.norm.bias.requires_grad_(False)
    model.second.requires_grad_(False)
    split = TwoGradients(model)
    batch = rows_of(5)
    assert_same(together(model, [(batch, 2)], split=split), separate(model, [(batch, 2)]))
    assert all(parameter.requires_grad for parameter in split.trusted)
    assert model.first.weight.grad is None


@pytest.mark.parametrize(
    "options",
    [{}, {"train_output_layer": True}, {"multiscale_modules": "all-adapted"}, {"scale_factors": []}],
    ids=["frozen head", "trained head", "all-adapted", "plain LoRA"],
)
def test_bert_with_the_adapter(options: dict[str, Any], adapted: Callable[..., nn.Module]) -> None:
    compare(bert(adapted, **options), (rows_of(7), 4))


@pytest.mark.parametrize("architecture", DECODERS)
def test_every_decoder_with_its_bottleneck(architecture: str, adapted: Callable[..., nn.Module]) -> None:
    model = adapted(tiny_config(architecture))
    assert isinstance(model.get_submodule("base_model.model.score.dense"), MultiScaleLinear)
    compare(model, (rows_of(7), 4))


@pytest.mark.parametrize("architecture", DECODERS)
def test_every_decoder_under_bf16_autocast_and_checkpointing(
    architecture: str, adapted: Callable[..., nn.Module]
) -> None:
    changes = {"dropout": 0.0} if architecture == "opt" else {}  # which is no module there
    compare_under_bf16(adapted(tiny_config(architecture, **changes)).float(), checkpointing=True)


def test_several_passes_accumulate(adapted: Callable[..., nn.Module]) -> None:
    batches = [(rows_of(5, 1), 3), (rows_of(4, 2, length=9), 1), (rows_of(6, 3, length=4), 5)]
    for model in (bert(adapted, train_output_layer=True), Words().double()):
        compare(model, *batches)


def test_the_head_alone() -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig(**SIZES)).double().eval()
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    model.bert.pooler.requires_grad_(True)
    compare(model, (rows_of(6), 4))


def test_layers_shared_by_blocks_accumulate(adapted: Callable[..., nn.Module]) -> None:
    model = adapted(AlbertConfig(**{**SIZES, "num_hidden_layers": 3}, embedding_size=16))
    compare(model, (rows_of(6), 2))


def test_a_layer_used_twice_and_a_parameter_of_two_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(64, 6)
            self.inner, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
            self.decoder = nn.Linear(6, 64, bias=False)
            self.decoder.weight = self.embedding.weight

        def forward(self, input_ids: Tensor, **_: Tensor) -> Tensor:
            x = self.embedding(input_ids)
            for _ in range(3):
                x = self.norm(torch.tanh(self.inner(x)))
            return self.decoder(x.mean(1))

    compare(Twice().double(), (rows_of(5), 2))


def test_wrapped_modules_inside_wrapped_modules() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.randn(5))
            self.dense, self.norm = nn.Linear(5, 5), nn.LayerNorm(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(torch.tanh(self.dense(x) + self.shift))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(5))
            self.one, self.two, self.last = Inner(), Inner(), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.two(self.scale * self.one(x)))

    compare(Outer().double(), (vectors(6), 2), (vectors(3, 1), 1))


def test_weights_that_a_wrapped_parent_uses_directly() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.dense = nn.Parameter(torch.randn(5)), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(self.scale * x, self.dense.weight, self.dense.bias)

    compare(Tied().double(), (vectors(6), 2))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_batch_norm_sees_each_half_by_itself(training: bool, trainable: bool) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double().train(training)
    model[1].requires_grad_(trainable)
    # in training a shift before it has no effect, so that bias gradients are only rounding
    model[0].bias.requires_grad_(not training)
    compare(model, (vectors(7), 3))


# ---- checkpointing, autocast ------------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.words, self.reentrant = nn.Embedding(64, 6), reentrant
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh()) for _ in range(3)
        )
        self.out = nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, **_: Tensor) -> Tensor:
        x = self.words(input_ids)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.out(x.mean(1))


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_checkpointing(reentrant: bool) -> None:
    compare(Checkpointed(reentrant).double(), (rows_of(6), 4), (rows_of(3, 1), 1))


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_gradient_checkpointing_of_transformers(
    reentrant: bool, adapted: Callable[..., nn.Module]
) -> None:
    model = bert(adapted, train_output_layer=True)
    batch = rows_of(6)
    expected = separate(model, [(batch, 4)])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()  # transformers checkpoints in training only
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    assert model.get_base_model().is_gradient_checkpointing
    assert_same(together(model, [(batch, 4)]), expected)


def bf16() -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_under_bf16_autocast(checkpointing: bool, adapted: Callable[..., nn.Module]) -> None:
    compare_under_bf16(bert(adapted, train_output_layer=True).float(), checkpointing=checkpointing)


def compare_under_bf16(model: nn.Module, *, checkpointing: bool) -> None:
    if checkpointing:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = rows_of(8)
    found, expected = together(model, [(batch, 5)], bf16), separate(model, [(batch, 5)], bf16)
    exact = separate(model, [(batch, 5)])
    error, scale = torch.zeros(()), torch.zeros(())
    for name, pair in expected.items():
        for ours, theirs, wanted in zip(found[name], pair, exact[name], strict=True):
            assert ours.dtype == theirs.dtype == torch.float32
            error += (ours - theirs).square().sum()
            scale += wanted.square().sum()
    assert (error / scale).sqrt() < 1e-2
    # and it is autocast: not what float32 gives
    assert any(not torch.equal(found[name][0], exact[name][0]) for name in found)


def test_autocast_leaves_float64_alone() -> None:
    model = Words().double()
    batch = rows_of(6)
    assert_same(together(model, [(batch, 4)], bf16), separate(model, [(batch, 4)], bf16))


# ---- what it must not touch -------------------------------------------------------------------------


def test_outside_rows_nothing_changes() -> None:
    model = Words().double()
    batch = rows_of(6)
    expected = call(model, batch)
    split = TwoGradients(model)
    found = call(model, batch)
    assert torch.equal(found, expected)
    model.zero_grad()
    loss_of(found, batch["labels"]).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert not split.trusted
    split.close()
    model.zero_grad()
    loss_of(call(model, batch), batch["labels"]).backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    with torch.no_grad(), TwoGradients(model).rows(1, 6):
        call(model, half(batch, slice(3)))  # evaluation inside is free to use any number of rows


def test_the_forward_pass_is_the_same_inside() -> None:
    model = Words().double()
    batch = rows_of(6)
    expected = call(model, batch)
    with TwoGradients(model).rows(2, 6):
        assert (call(model, batch) - expected).abs().max() < 1e-14


def test_clear_and_close() -> None:
    model = Words().double()
    split = TwoGradients(model)
    batch = rows_of(6)
    together(model, [(batch, 2)], split=split)
    assert split.trusted
    split.clear()
    assert not split.trusted
    assert_same(together(model, [(batch, 2)], split=split), separate(model, [(batch, 2)]))
    split.close()
    assert not split.trusted
    assert not any("forward" in vars(module) for module in model.modules())


def test_close_gives_back_a_forward_that_was_already_replaced() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).double()
    plain = model[0].forward

    def doubled(x: Tensor) -> Tensor:
        return 2 * plain(x)

    model[0].forward = doubled
    compare(model, (vectors(6), 2))
    assert model[0].forward is doubled
    assert "forward" not in vars(model[1])


def test_a_copy_of_a_wrapped_model_stands_alone() -> None:
    model = Words().double()
    batch = rows_of(4)
    split = TwoGradients(model)
    expected = call(model, batch)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(call(twin, batch), expected)
    assert not any("forward" in vars(module) and module.forward is split for module in twin.modules())
    loss_of(call(twin, batch), batch["labels"]).backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    assert not split.trusted


def test_an_error_inside_leaves_it_usable() -> None:
    model = Words().double()
    split = TwoGradients(model)
    batch = rows_of(6)

    def fail() -> None:
        with split.rows(2, 6):
            call(model, batch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    split.clear()
    call(model, half(batch, slice(3)))  # of any size: outside it cuts nothing
    assert_same(together(model, [(batch, 2)], split=split), separate(model, [(batch, 2)]))


@pytest.mark.parametrize(("boundary", "total"), [(0, 4), (4, 4), (5, 4), (-1, 4)])
def test_a_boundary_outside_the_batch(boundary: int, total: int) -> None:
    with (
        pytest.raises(ValueError, match="inside the batch"),
        TwoGradients(nn.Linear(2, 2)).rows(boundary, total),
    ):
        pass


# ---- what it cannot do, it refuses ------------------------------------------------------------------


def refuses(model: nn.Module, batch: Batch, named: str) -> None:
    with pytest.raises(NotSeparableError, match=named):
        together(model, [(batch, 2)])


def test_the_position_embeddings_of_a_fully_trained_bert() -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig(**SIZES)).double().eval()
    refuses(model, rows_of(6), "position_embeddings: 6 rows expected first")


def test_the_relative_positions_of_deberta(adapted: Callable[..., nn.Module]) -> None:
    for shared in (True, False):
        config = DebertaV2Config(
            **SIZES,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            share_att_key=shared,
            position_buckets=8,
        )
        refuses(adapted(config), rows_of(6), "6 rows expected first")


class Mixing(nn.Module):
    """Takes one kind of input that cannot be cut."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.dense, self.out = nn.Linear(5, 5), nn.Linear(5, 3)
        self.bilinear = nn.Bilinear(5, 5, 5)
        self.lstm = nn.LSTM(5, 5, batch_first=True)
        self.embedding = nn.Embedding(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        kinds: dict[str, Callable[[], Tensor]] = {
            "transposed": lambda: self.dense(x.T[:, :5]),
            "flattened": lambda: self.dense(x.repeat(2, 1))[: len(x)],
            "vector": lambda: self.dense(x[0]).expand(len(x), 5),
            "several": lambda: self.bilinear(x, x),
            "tuple": lambda: self.lstm(x[:, None])[0][:, 0],
            "keyword": lambda: self.dense(input=x),
            "direct": lambda: nn.functional.linear(x, self.dense.weight),
            "positions": lambda: x + self.embedding(torch.arange(5)).mean(0),
        }
        return self.out(kinds[self.kind]())


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("transposed", "dense"),
        ("flattened", "dense"),
        ("several", "bilinear"),
        ("tuple", "lstm"),
        ("keyword", "dense"),
        ("direct", "dense.weight: its gradient did not come through the module that owns it"),
        ("positions", "embedding"),
    ],
)
def test_what_cannot_be_cut_is_refused(kind: str, named: str) -> None:
    refuses(Mixing(kind).double(), vectors(6), named)


def test_a_vector_as_long_as_the_batch_is_no_batch() -> None:
    refuses(Mixing("vector").double(), vectors(5), "dense")


def test_gradients_of_a_layer_that_was_left_out_are_no_mistake() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.use_b = nn.Linear(5, 3), nn.Linear(5, 3), True

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x) if self.use_b else self.a(x)

    model = Sometimes().double()
    split = TwoGradients(model)
    together(model, [(vectors(4), 2)], split=split)
    split.clear()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.use_b = False
    with split.rows(2, 4):
        batch = vectors(4)
        loss_of(model(batch["x"]), batch["labels"]).backward()
    assert model.b.weight not in split.trusted
    assert model.a.weight in split.trusted
