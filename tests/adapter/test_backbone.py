import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import LABELS, tiny_config
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from musclelora.adapter import load_backbone
from musclelora.errors import ModelError


def refusal(name: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_backbone(name, LABELS)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(name) or ".")
    assert len(message) < 600
    return message


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model"])
def test_an_unknown_model_offline(name: str) -> None:
    message = refusal(name)
    known = "all-minilm-l6-v2, all-mpnet-base-v2, smollm2-135m, smollm2-135m-instruct"
    assert f"not an embedded model ({known}), not a folder, and the hub did not give it" in message


@pytest.mark.parametrize("name", ["no such name!", "./no/such/folder", "x" * 300, "all-minilm-l6-v2.zip"])
def test_what_can_be_no_hub_name_is_a_folder_that_is_missing(name: str) -> None:
    assert f"{name}: no such file or folder" in refusal(name)


def test_the_nearest_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "my-bert").mkdir()
    assert f"did you mean {tmp_path / 'my-bert'}?" in refusal(str(tmp_path / "my-brt"))
    assert "did you mean all-minilm-l6-v2?" in refusal("all-minilm-l6-v3")


def test_a_blank_name_is_no_model() -> None:
    with pytest.raises(ModelError, match="model: found the name ''"):
        load_backbone("", LABELS)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"]
)
def test_a_model_folder_with_a_fifo_is_refused_unopened(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert f"a FIFO in it ({name})" in refusal(str(tmp_path))


def test_a_model_folder_with_a_link_to_a_device_is_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert "a device in it (config.json)" in refusal(str(tmp_path))
    assert "/dev/zero: a device" in refusal("/dev/zero")


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    assert "no config.json in it" in refusal(tmp_path)


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def pickle_only(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickle_beside_other_safetensors(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "other.safetensors")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_json, "not a valid JSON file"),
        (lambda f: (f / "config.json").write_text("[]"), "cannot be loaded as a text classifier"),
        (lambda f: edit(f, model_type="mystery"), "does not recognize this architecture"),
        (lambda f: edit(f, model_type="vit"), "cannot be loaded as a text classifier"),
        (lambda f: edit(f, hidden_size="x"), "hidden_size"),
        (lambda f: edit(f, hidden_size=31), "cannot be loaded as a text classifier"),
        (break_weights, "model.safetensors: cannot be read as safetensors"),
        (pickle_only, "only pickled weights (pytorch_model.bin); expected *.safetensors"),
        (
            pickle_only,
            "convert it: load it with transformers' from_pretrained() and save_pretrained() it again",
        ),
        (no_weights, "no weights; expected *.safetensors"),
        (pickle_beside_other_safetensors, "no file named model.safetensors"),
        (no_tokenizer, "no tokenizer in it"),
    ],
)
def test_a_folder_that_cannot_be_used(damage: Callable[[Path], Any], said: str, save_backbone: Any) -> None:
    folder = save_backbone("bert")
    damage(folder)
    assert said in refusal(folder)


def test_a_model_with_code_of_its_own_is_refused_and_the_code_not_run(
    save_backbone: Any, tmp_path: Path
) -> None:
    folder, mark = save_backbone("bert"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    edit(
        folder,
        model_type="mystery",
        auto_map={"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"},
    )
    assert "it needs code of its own to load, which is never run" in refusal(folder)
    edit(folder, model_type="bert")  # a name that transformers knows: its own code is used instead
    load_backbone(folder, LABELS)
    assert not mark.exists()


def test_an_adapter_is_no_backbone(save_backbone: Any) -> None:
    """Transformers would load it on top of the model, from a pickle where there is no safetensors file."""
    folder = save_backbone("bert")
    model = get_peft_model(AutoModel.from_pretrained(folder), LoraConfig(target_modules=["query"]))
    model.save_pretrained(folder, safe_serialization=False)
    assert "adapter" in refusal(folder)


def test_sharded_safetensors_are_fine(save_backbone: Any, tmp_path: Path) -> None:
    folder = save_backbone("bert")
    sharded = shutil.copytree(folder, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(sharded, max_shard_size="20KB")
    assert not (sharded / "model.safetensors").exists()
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    backbone = load_backbone(sharded, LABELS)
    found = backbone.model.base_model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("pad", [None, 64], ids=["none", "past the vocabulary"])
def test_a_tokenizer_without_a_usable_pad_token(
    pad: int | None, save_backbone: Any, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = save_backbone("bert")
    tiny_tokenizer.pad_token = None
    if pad is not None:
        tiny_tokenizer.add_special_tokens({"pad_token": "[NEWPAD]"})
        assert tiny_tokenizer.pad_token_id == pad
    tiny_tokenizer.save_pretrained(folder)
    assert "padding token" in refusal(folder)


def test_a_decoder_learns_the_pad_token_of_its_tokenizer(save_backbone: Any) -> None:
    backbone = load_backbone(save_backbone("gpt2", pad_token_id=None), LABELS)
    assert backbone.model.config.pad_token_id == 0
    batch = backbone.tokenizer(["word1 word2", "word3"], padding=True, return_tensors="pt")
    alone = backbone.tokenizer(["word3"], return_tensors="pt")
    model = backbone.model.eval()
    together = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[1]
    assert (together - model(input_ids=alone["input_ids"]).logits[0]).abs().max() < 1e-5


def test_what_is_loaded(save_backbone: Any) -> None:
    folder = save_backbone("bert")
    backbone = load_backbone(str(folder), LABELS)
    assert backbone.path == backbone.name == str(folder)
    assert backbone.revision is None
    assert backbone.model.config.id2label == dict(enumerate(LABELS))
    assert backbone.model.config.label2id == {name: i for i, name in enumerate(LABELS)}
    assert backbone.model.classifier.out_features == 3
    assert backbone.model.dtype == torch.float32
    assert backbone.new_parameters == {"classifier.weight", "classifier.bias"}


def test_half_precision_weights_are_loaded_in_float32(tmp_path: Path, tiny_tokenizer: Any) -> None:
    AutoModel.from_config(tiny_config("bert")).to(torch.bfloat16).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    assert load_backbone(tmp_path, LABELS).model.dtype == torch.float32
    assert load_backbone(tmp_path, LABELS, dtype="bfloat16").model.dtype == torch.bfloat16


def test_only_what_the_checkpoint_lacks_is_new(
    save_backbone: Any, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    assert load_backbone(save_backbone("roberta", head=True), LABELS).new_parameters == frozenset()
    two = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    other = AutoModelForSequenceClassification.from_config(tiny_config("roberta", **two))
    other.save_pretrained(tmp_path / "two")
    tiny_tokenizer.save_pretrained(tmp_path / "two")
    backbone = load_backbone(tmp_path / "two", LABELS)
    assert backbone.new_parameters == {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert torch.equal(backbone.model.classifier.dense.weight, other.classifier.dense.weight)
