import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import DECODERS, ENCODERS, LABELS, perturb, tiny_config
from peft import AutoPeftModelForSequenceClassification, PeftConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from musclelora.adapter import Adapted, export, load_backbone, merged_model
from musclelora.errors import ModelError, OutputError, UsageError

# The class that reads tokenizers of qwen2 knows no other vocabulary than its own.
ALL = [*ENCODERS, *(name for name in DECODERS if name != "qwen2")]
TEXTS = ["word1 word2 word3 word58", "word5", "unknown word7 word7"]
TOLERANCE = 1e-5
Loaded = Any


def logits(model: torch.nn.Module, tokenizer: Any) -> Tensor:
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def plain_base(folder: Path, **options: Any) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, **options)


@pytest.mark.parametrize("head", [False, True], ids=["no head", "head"])
@pytest.mark.parametrize("architecture", ALL)
def test_both_formats_give_the_same_logits_in_every_plain_loader(
    architecture: str, head: bool, save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    folder = save_backbone(architecture, head=head)
    adapted, backbone = load_and_perturb(folder)
    expected = logits(adapted.model, backbone.tokenizer)
    assert distance(expected, expected.mean(0)) > 1e-3  # the rows differ, or equality would say little
    before = {name: tensor.clone() for name, tensor in adapted.model.state_dict().items()}
    lora, merged = tmp_path / "lora", tmp_path / "merged"
    export(adapted, backbone.tokenizer, lora, format="lora", base_model=str(folder))
    export(adapted, backbone.tokenizer, merged, format="merged", base_model=str(folder))
    after = adapted.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)  # exporting leaves it as it was

    with_adapter = plain_base(folder)
    with_adapter.load_adapter(str(lora))
    labels = dict(enumerate(json.loads((lora / "labels.json").read_text())))
    loaded = {
        "PeftModel": PeftModel.from_pretrained(plain_base(folder), lora),
        "PeftModel, merged": PeftModel.from_pretrained(plain_base(folder), lora).merge_and_unload(),
        "AutoPeftModel": AutoPeftModelForSequenceClassification.from_pretrained(lora, num_labels=3),
        "AutoModel of the adapter": AutoModelForSequenceClassification.from_pretrained(lora, id2label=labels),
        "load_adapter": with_adapter,
        "AutoModel of the merged": AutoModelForSequenceClassification.from_pretrained(merged),
    }
    for name, model in loaded.items():
        assert distance(logits(model, backbone.tokenizer), expected) < TOLERANCE, name
        assert not any(type(module).__module__.startswith("musclelora") for module in model.modules()), name
    for name in ("AutoModel of the adapter", "AutoModel of the merged"):
        assert loaded[name].config.id2label == dict(enumerate(LABELS))
    classify = pipeline("text-classification", str(merged), top_k=None)
    for answer, row in zip(classify(TEXTS), expected.softmax(-1), strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        # alone a text is not padded, which is the same but for rounding
        assert scores == pytest.approx(dict(zip(LABELS, row.tolist(), strict=True)), abs=TOLERANCE)


ELSEWHERE = """
import importlib.abc, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "musclelora":
            raise ImportError("musclelora is blocked")

sys.meta_path.insert(0, Blocker())
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification as Auto
from transformers import AutoTokenizer, pipeline

torch.set_num_threads(1)
found = {}
for name, (base, lora, merged, texts) in json.loads(sys.stdin.read()).items():
    batch = AutoTokenizer.from_pretrained(lora)(texts, padding=True, return_tensors="pt")
    batch = {key: batch[key] for key in ("input_ids", "attention_mask")}
    classifier = Auto.from_pretrained(base, num_labels=3)
    models = (PeftModel.from_pretrained(classifier, lora), Auto.from_pretrained(merged))
    with torch.no_grad():
        found[name] = [model.eval()(**batch).logits.tolist() for model in models]
    found[name].append([row["label"] for row in pipeline("text-classification", merged)(texts)])
assert "musclelora" not in sys.modules
print(json.dumps(found))
"""


@pytest.mark.integration
def test_no_part_of_this_package_is_needed_to_load(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    jobs, expected = {}, {}
    for architecture in ("bert", "roberta", "gpt2"):
        folder = save_backbone(architecture)
        adapted, backbone = load_and_perturb(folder)
        expected[architecture] = logits(adapted.model, backbone.tokenizer)
        places = {kind: tmp_path / f"{architecture}-{kind}" for kind in ("lora", "merged")}
        for kind, place in places.items():
            export(adapted, backbone.tokenizer, place, format=kind, base_model=str(folder))
        jobs[architecture] = [str(folder), *map(str, places.values()), TEXTS]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for architecture, (peft, merged, labels) in json.loads(done.stdout.splitlines()[-1]).items():
        wanted = expected[architecture]
        assert distance(torch.tensor(peft), wanted) < TOLERANCE
        assert distance(torch.tensor(merged), wanted) < TOLERANCE
        assert labels == [LABELS[row] for row in wanted.argmax(-1).tolist()]


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factors": []},
        {"multiscale_modules": "all-adapted", "scale_factors": [1, 3]},
        {"train_output_layer": True},
        {"target_modules": [], "multiscale_modules": ["classifier"]},  # nothing but the head is adapted
        {"target_modules": ["query", "intermediate.dense"], "r": 3, "lora_alpha": 7, "inner_rank": 2},
        {"lora_dropout": 0.5},
    ],
    ids=["plain LoRA", "all-adapted", "trained output", "head only", "other layers", "dropout"],
)
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_every_placement_exports(
    architecture: str, options: dict[str, Any], save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    if architecture == "gpt2":
        renamed = {"classifier": "score", "query": "c_attn", "intermediate.dense": "mlp.c_fc"}
        options = {
            key: [renamed[name] for name in value]
            if key.endswith("modules") and isinstance(value, list)
            else value
            for key, value in options.items()
        }
    folder = save_backbone(architecture)
    adapted, backbone = load_and_perturb(folder, **options)
    expected = logits(adapted.model, backbone.tokenizer)
    export(adapted, backbone.tokenizer, tmp_path / "lora", base_model=str(folder))
    export(adapted, backbone.tokenizer, tmp_path / "merged", format="merged")
    peft = PeftModel.from_pretrained(plain_base(folder), tmp_path / "lora")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert distance(logits(peft, backbone.tokenizer), expected) < TOLERANCE
    assert distance(logits(merged, backbone.tokenizer), expected) < TOLERANCE


def test_a_head_of_another_number_of_labels_is_replaced(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    two = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    for architecture in ("roberta", "distilbert"):
        folder = save_backbone(architecture, head=True, **two)
        adapted, backbone = load_and_perturb(folder)
        assert {name.rpartition(".")[0] for name in backbone.new_parameters} == {adapted.placement.output}
        out = tmp_path / architecture
        export(adapted, backbone.tokenizer, out, base_model=str(folder))
        loaded = PeftModel.from_pretrained(plain_base(folder, ignore_mismatched_sizes=True), out)
        expected = logits(adapted.model, backbone.tokenizer)
        assert distance(logits(loaded, backbone.tokenizer), expected) < TOLERANCE


def test_the_lora_folder_is_an_ordinary_one(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    folder = save_backbone("bert")
    adapted, backbone = load_and_perturb(folder)
    export(adapted, backbone.tokenizer, tmp_path / "lora", base_model=str(folder))
    names = {file.name for file in (tmp_path / "lora").iterdir()}
    # no config.json: beside one, transformers looks for a whole model's weights
    assert names == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "labels.json",
        "musclelora-export.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    text = (tmp_path / "lora" / "adapter_config.json").read_text()
    assert "scale_factors" not in text
    assert "multiscale" not in text
    config = PeftConfig.from_pretrained(tmp_path / "lora")
    assert config.task_type == "SEQ_CLS"
    assert config.base_model_name_or_path == str(folder.resolve())
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    frozen = adapted.model.get_base_model().classifier
    assert torch.equal(tensors["base_model.model.classifier.weight"], frozen.weight)
    assert torch.equal(tensors["base_model.model.classifier.bias"], frozen.bias)
    assert all("base_layer" not in name for name in tensors)


def test_a_relative_base_folder_is_found_from_elsewhere(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_backbone("bert")
    adapted, backbone = load_and_perturb(folder)
    monkeypatch.chdir(tmp_path)
    export(adapted, backbone.tokenizer, tmp_path / "lora", base_model=folder.name)
    monkeypatch.chdir("/")
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "lora", num_labels=3)
    expected = logits(adapted.model, backbone.tokenizer)
    assert distance(logits(loaded, backbone.tokenizer), expected) < TOLERANCE
    export(adapted, backbone.tokenizer, tmp_path / "hub", base_model="some-user/some-model")
    assert PeftConfig.from_pretrained(tmp_path / "hub").base_model_name_or_path == "some-user/some-model"


def test_the_tokenizer_is_saved_beside_the_weights(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    adapted, backbone = load_and_perturb(save_backbone("bert"))
    for kind in ("lora", "merged"):
        export(adapted, backbone.tokenizer, tmp_path / kind, format=kind)
        saved = AutoTokenizer.from_pretrained(tmp_path / kind)
        assert saved(TEXTS)["input_ids"] == backbone.tokenizer(TEXTS)["input_ids"]


def test_a_fully_fine_tuned_model_exports_merged_only(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    for options in ({"scale_factors": []}, {}):
        folder = save_backbone("bert")
        adapted, backbone = load_and_perturb(folder, low_rank=False, **options)
        out = tmp_path / "lora"
        with pytest.raises(UsageError, match=r"--format lora.*--format merged"):
            export(adapted, backbone.tokenizer, out, base_model=str(folder))
        assert not out.exists()
        export(adapted, backbone.tokenizer, tmp_path / "merged", format="merged", overwrite=True)
        merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
        expected = logits(adapted.model, backbone.tokenizer)
        assert distance(logits(merged, backbone.tokenizer), expected) < TOLERANCE


def test_an_existing_folder_is_kept_unless_overwritten(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    adapted, backbone = load_and_perturb(save_backbone("bert"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    for kind in ("lora", "merged"):
        with pytest.raises(OutputError, match="already exists"):
            export(adapted, backbone.tokenizer, out, format=kind)
    with pytest.raises(UsageError, match="--format: found 'onnx', expected one of lora, merged"):
        export(adapted, backbone.tokenizer, out, format="onnx", overwrite=True)
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    export(adapted, backbone.tokenizer, out, format="merged", overwrite=True)
    assert (out / "model.safetensors").is_file()
    assert not (out / "mine.txt").exists()


def test_a_full_disk_leaves_the_earlier_output(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    """The limit on a file's size stands for the disk: a write past it fails the same way."""
    adapted, backbone = load_and_perturb(save_backbone("bert"))
    out, weights = tmp_path / "out", tmp_path / "run.safetensors"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    weights.write_text("earlier")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for kind in ("lora", "merged"):
            with pytest.raises(OutputError) as caught:
                export(adapted, backbone.tokenizer, out, format=kind, overwrite=True)
            assert "\n" not in str(caught.value)
        with pytest.raises(OutputError):
            adapted.save(weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    assert weights.read_text() == "earlier"
    assert {file.name for file in tmp_path.iterdir()} == {"bert-False", "out", "run.safetensors"}


def test_merging_leaves_the_trained_model_alone(adapt: Any) -> None:
    adapted: Adapted = adapt("bert")
    perturb(adapted)
    ids = torch.tensor([[2, 7, 8, 3]])
    with torch.no_grad():
        expected = adapted.model(input_ids=ids).logits
        merged = merged_model(adapted).eval()
        assert distance(merged(input_ids=ids).logits, expected) < TOLERANCE
        for parameter in merged.parameters():
            parameter.zero_()
        assert torch.equal(adapted.model(input_ids=ids).logits, expected)


def test_own_parameters_save_and_load_bit_by_bit(
    save_backbone: Any, load_and_perturb: Any, tmp_path: Path
) -> None:
    for architecture in ("roberta", "llama"):
        folder = save_backbone(architecture)
        adapted, backbone = load_and_perturb(folder)
        adapted.save(tmp_path / "w.safetensors")
        expected = logits(adapted.model, backbone.tokenizer)
        torch.manual_seed(5)
        fresh, _ = load_and_perturb(folder)
        with torch.no_grad():
            for parameter in fresh.tensors().values():
                parameter.normal_()
        fresh.load(tmp_path / "w.safetensors")
        assert torch.equal(logits(fresh.model, backbone.tokenizer), expected)


def test_loading_what_does_not_fit_is_refused(adapt: Any, tmp_path: Path) -> None:
    adapted: Adapted = adapt("bert")
    before = {name: tensor.clone() for name, tensor in adapted.tensors().items()}
    adapted.save(tmp_path / "good")
    other: Adapted = adapt("bert", scale_factors=[1, 2])
    with pytest.raises(ModelError, match="not those of this model"):
        other.load(tmp_path / "good")
    (tmp_path / "damaged").write_bytes((tmp_path / "good").read_bytes()[:-100])
    for name in ("damaged", "missing"):
        with pytest.raises(ModelError, match="cannot be read") as caught:
            adapted.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in adapted.tensors().items())


def test_a_backbone_whose_pooler_is_new_keeps_it_whole(
    load_and_perturb: Any, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    """A masked language model has no pooler: the adapted dense layer starts random, like the output layer."""
    folder = tmp_path / "base"
    model = AutoModel.from_config(tiny_config("bert"), add_pooling_layer=False)
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    adapted, backbone = load_and_perturb(folder)
    assert "bert.pooler.dense.weight" in backbone.new_parameters
    export(adapted, backbone.tokenizer, tmp_path / "lora", base_model=str(folder))
    loaded = PeftModel.from_pretrained(plain_base(folder), tmp_path / "lora")
    assert distance(logits(loaded, tiny_tokenizer), logits(adapted.model, tiny_tokenizer)) < TOLERANCE


@pytest.fixture
def merged(save_backbone: Any, load_and_perturb: Any, tmp_path: Path) -> Path:
    """A whole exported model."""
    adapted, backbone = load_and_perturb(save_backbone("bert"))
    made_from = {"backbone": backbone.sha256}
    export(adapted, backbone.tokenizer, tmp_path / "merged", format="merged", made_from=made_from)
    return tmp_path / "merged"


def test_an_export_holds_hashes_of_its_files(merged: Path) -> None:
    found = json.loads((merged / "musclelora-export.json").read_text())
    assert found["export"] == "merged"
    assert len(found["made_from"]["backbone"]) == 64
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in merged.iterdir()}
    assert found["files"] == {name: sha for name, sha in files.items() if name != "musclelora-export.json"}


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("model.safetensors", _flip, "found other bytes than were written"),
        ("config.json", lambda file: file.write_text(file.read_text() + " "), "found other bytes"),
        ("tokenizer.json", Path.unlink, "found no such file"),
        ("musclelora-export.json", lambda file: file.write_text("{"), "cannot be read"),
        ("musclelora-export.json", lambda file: file.write_text('{"files": {"../x": "0"}}'), "expected"),
    ],
)
def test_an_altered_export_is_no_backbone(file: str, damage: Any, said: str, merged: Path) -> None:
    load_backbone(merged, LABELS)
    damage(merged / file)
    with pytest.raises(ModelError, match=said) as error:
        load_backbone(merged, LABELS)
    assert str(error.value).startswith(f"{merged / file}: ")
    assert "\n" not in str(error.value)


def test_without_its_hashes_an_export_is_a_model_like_any_other(merged: Path) -> None:
    (merged / "musclelora-export.json").unlink()
    _flip(merged / "model.safetensors")
    load_backbone(merged, LABELS)
