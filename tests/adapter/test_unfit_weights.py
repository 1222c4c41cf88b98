"""A model whose weights are not those of its configuration, or not finite, is refused before it is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import DECODERS, ENCODERS, LABELS
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from musclelora.adapter import load_backbone, load_causal_backbone
from musclelora.adapter.embed import sentence_embedder
from musclelora.errors import ModelError
from musclelora.hashes import sha256_of_files

Tensors = dict[str, torch.Tensor]


def refusal(folder: Path, load: Callable[[Path], object] = lambda path: load_backbone(path, LABELS)) -> str:
    with pytest.raises(ModelError) as error:
        load(folder)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    assert len(message) < 700
    return message


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    file = folder / "model.safetensors"
    save_file({name: t.contiguous() for name, t in change(load_file(file)).items()}, file, {"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# ---- weights of something else ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_weights_of_something_else_are_refused(name: str, save_backbone: Any) -> None:
    folder = save_backbone(name)
    rewrite(folder, lambda tensors: {f"other.{key}": tensor for key, tensor in tensors.items()})
    message = refusal(folder)
    assert "its weights do not fit its configuration: " in message
    assert "tensors of the body are missing (such as " in message
    assert "are unexpected (such as other." in message
    assert "restore the model's files or name another model" in message


@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2", "llama"])
def test_weights_of_other_shapes_are_refused(name: str, save_backbone: Any) -> None:
    folder = save_backbone(name)
    rewrite(folder, lambda tensors: {key: tensor[..., :-1] for key, tensor in tensors.items()})
    assert "have other shapes (such as " in refusal(folder)


def test_half_of_the_weights_are_refused_too(save_backbone: Any) -> None:
    folder = save_backbone("bert")
    rewrite(folder, lambda t: {key: tensor for key, tensor in t.items() if ".layer.1." not in key})
    assert "16 of 37 tensors of the body are missing (such as bert.encoder.layer.1.attention" in refusal(
        folder
    )


def test_a_decoder_of_something_else_is_refused_for_generation(save_backbone: Any) -> None:
    folder = save_backbone("llama")
    rewrite(folder, lambda tensors: {f"other.{key}": tensor for key, tensor in tensors.items()})
    assert "do not fit its configuration" in refusal(folder, load_causal_backbone)
    assert "do not fit its configuration" in refusal(folder, sentence_embedder)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_missing_pooler_or_head_starts_new(name: str, save_backbone: Any) -> None:
    folder = save_backbone(name)
    rewrite(folder, lambda t: {key: tensor for key, tensor in t.items() if "pooler" not in key})
    backbone = load_backbone(folder, LABELS)
    assert any("classifier" in parameter for parameter in backbone.new_parameters)


@pytest.mark.parametrize("family", [AutoModelForSequenceClassification, AutoModelForCausalLM])
def test_another_head_in_the_files_is_let_be(family: Any, save_backbone: Any) -> None:
    folder = save_backbone("gpt2")
    family.from_pretrained(folder, num_labels=7).save_pretrained(folder)
    assert load_backbone(folder, LABELS).new_parameters


# ---- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("load", [lambda path: load_backbone(path, LABELS), sentence_embedder])
def test_weights_that_are_not_finite_are_refused(value: float, load: Any, save_backbone: Any) -> None:
    folder = save_backbone("bert")

    def spoil(tensors: Tensors) -> Tensors:
        tensors["encoder.layer.1.attention.self.key.weight"][3, 3] = value
        return tensors

    rewrite(folder, spoil)
    message = refusal(folder, load)
    assert "encoder.layer.1.attention.self.key.weight that are not finite" in message


def test_large_weights_are_finite(save_backbone: Any) -> None:
    folder = save_backbone("bert")

    def enlarge(tensors: Tensors) -> Tensors:
        tensors["encoder.layer.1.attention.self.key.weight"][:] = 3e38  # their sum is not
        return tensors

    rewrite(folder, enlarge)
    load_backbone(folder, LABELS)


# ---- configurations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "bert",
            {"num_hidden_layers": 3_000_000},
            "num_hidden_layers: found 3000000, expected 10,000 at most",
        ),
        ("bert", {"num_hidden_layers": 9_000}, "num_hidden_layers: found 9000, expected 100 at most"),
        ("distilbert", {"n_layers": 10**7}, "n_layers: found 10000000"),
        ("gpt2", {"n_layer": 10**12}, "n_layer: found 1000000000000"),
        ("albert", {"num_hidden_groups": 10**8}, "num_hidden_groups: found 100000000"),
        ("qwen3", {"num_hidden_layers": 10**30}, "num_hidden_layers: found a number of 31 digits"),
        ("bert", {"hidden_size": 10**9}, "config.json"),
        ("bert", {"hidden_size": 4 * 10**5}, "config.json: found a model of"),
        ("bert", {"intermediate_size": 10**9}, "config.json: found a model of"),
        ("bert", {"vocab_size": 10**12}, "config.json: found a model of"),
        ("bert", {"vocab_size": 10**40}, "vocab_size: found a number of 41 digits"),
        ("gpt2", {"n_positions": 10**10}, "config.json: found a model of"),
        ("bert", {"max_position_embeddings": 10**11}, "config.json: found a model of"),
        ("llama", {"intermediate_size": 10**8}, "config.json: found a model of"),
    ],
)
def test_an_absurd_configuration_builds_nothing(
    name: str, changes: dict[str, Any], said: str, save_backbone: Any
) -> None:
    folder = save_backbone(name)
    configure(folder, **changes)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_absurd_configuration_of_a_decoder_builds_nothing(name: str, save_backbone: Any) -> None:
    folder = save_backbone(name)
    configure(folder, num_hidden_layers=3_000_000, n_layer=3_000_000)
    assert "found 3000000" in refusal(folder, load_causal_backbone)
    assert "found 3000000" in refusal(folder, sentence_embedder)


@pytest.mark.parametrize(
    "content", ['{"a":' * 200_000 + "1" + "}" * 200_000, '{"a":' * 100 + "1" + "}" * 100]
)
def test_a_configuration_nested_deep(content: str, save_backbone: Any) -> None:
    folder = save_backbone("bert")
    (folder / "config.json").write_text(content)
    assert "config.json" in refusal(folder)


# ---- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_is_no_file_is_not_waited_for(file: str, save_backbone: Any) -> None:
    folder = save_backbone("bert")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    refusal(folder)


def test_an_endless_file_is_not_read(save_backbone: Any) -> None:
    folder = save_backbone("bert")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/dev/zero")
    assert "a device in it (tokenizer.json); expected" in refusal(folder)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": {"a": "x.bin"}}',
        '{"weight_map": {"a": "../model.safetensors"}}',
        "{" * 9999,
    ],
)
def test_an_index_of_something_else(index: str, save_backbone: Any) -> None:
    folder = save_backbone("bert")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "x.bin").write_bytes(b"\x80\x04N.")
    (folder / "model.safetensors.index.json").write_text(index)
    assert "model.safetensors.index.json: found " in refusal(folder)


@pytest.mark.parametrize(
    "header", [b"", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x09" + b"\0" * 7 + b'{"a": {}}']
)
def test_a_damaged_header(header: bytes, save_backbone: Any) -> None:
    folder = save_backbone("bert")
    (folder / "model.safetensors").write_bytes(header)
    assert "model.safetensors: cannot be read as safetensors" in refusal(folder)


# ---- hashes ----------------------------------------------------------------------------------------------


def test_a_backbone_has_the_hash_of_its_weights(save_backbone: Any, tmp_path: Path) -> None:
    folder = save_backbone("bert")
    weights = folder / "model.safetensors"
    assert load_backbone(folder, LABELS).sha256 == sha256_of_files([weights])
    sharded = shutil.copytree(folder, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    AutoModel.from_pretrained(folder).save_pretrained(sharded, max_shard_size="20KB")
    shards = sorted(sharded.glob("*.safetensors"))
    then = load_backbone(sharded, LABELS).sha256
    assert then == sha256_of_files(shards)
    content = bytearray(shards[-1].read_bytes())
    content[-1] ^= 1
    shards[-1].write_bytes(content)
    assert load_backbone(sharded, LABELS).sha256 != then


def test_a_file_that_changes_is_hashed_anew(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = sha256_of_files([file])
    assert sha256_of_files([file]) == first
    os.utime(file, ns=(0, 0))
    file.write_bytes(b"two")
    assert sha256_of_files([file]) != first
