"""Loading a pretrained model whose configuration and weights fit each other; of others nothing is built.

Torch is imported when one is loaded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from musclelora.data.messages import one_line
from musclelora.data.model_source import Source
from musclelora.data.weight_files import find_file, integer_tensors, tensor_shapes, weight_files
from musclelora.errors import ModelError
from musclelora.files import read_json
from musclelora.hashes import hashing

CONFIG: Final = "config.json"
_DEEPEST = 32
_LARGEST: Final = 2**40
"""Of the whole numbers in a configuration."""
_MOST_LAYERS: Final = 10_000
_FEW: Final = 100
"""Layers that cost nothing: a model may use the tensors of one several times."""
_LAYERS = re.compile(r"^(num|n)_(\w+_)?(layers?|groups|blocks|experts|stages)$|^(en|de)coder_layers$")
_SPARE = 2**20
"""Elements of a head that starts new, and of what else no file holds."""
_PACKED = 16
"""Weights in so many pieces at most are in one element of a quantised model's files."""
_POOLER = re.compile(r"(^|\.)pooler\.")
# Of models whose parts that were pretrained are no module of their own.
_HEAD = re.compile(r"^(classifier|classification_head|score|pre_classifier|out_proj|summary|logits_proj)\.")


class Pretrained(NamedTuple):
    """A model as it was loaded.

    Attributes:
        model: the model.
        missing: names of the parameters that the files do not hold in this shape, and that start random.
        sha256: of the files of its weights; None where they could not be told.
    """

    model: Any
    missing: frozenset[str]
    sha256: str | None


def load_pretrained(
    name: str,
    source: Source,
    family: Any,
    config: Any,
    *,
    revision: str | None = None,
    **how: Any,
) -> Pretrained:
    """``from_pretrained`` of a family of models, from weights that fit the configuration.

    Args:
        name: what the model was asked for as.
        source: its files.
        family: one of transformers' ``AutoModel`` classes.
        config: its configuration, of which :func:`check_config` was asked.
        revision: a commit, branch or tag of the hub.
        **how: further options.

    Raises:
        ModelError: the weights are of another configuration, or are not finite.
    """
    files = weight_files(name, source, revision)
    if files and source.gguf is None:
        _check_built(name, family, config, files)
    with hashing(files) as sha256:
        model, info = family.from_pretrained(
            source.path,
            revision=revision,
            config=config,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
            **source.weights,
        )
    mismatched = {entry[0] for entry in info["mismatched_keys"]}
    _check_body(name, model, set(info["missing_keys"]), mismatched, info["unexpected_keys"])
    check_finite(name, model)
    return Pretrained(model, frozenset({*info["missing_keys"], *mismatched}), sha256[0] if files else None)


def check_config(name: str, source: Source, revision: str | None = None) -> None:
    """Check the numbers of a model's configuration before anything reads it that would take them as sizes.

    Raises:
        ModelError: its file is no ordinary one, or a number in it cannot be a size.
    """
    file = None if source.gguf is not None else find_file(source, CONFIG, revision)
    if file is None:
        return
    try:
        values = read_json(file)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return  # transformers says what is wrong with it
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: {CONFIG}: cannot be read ({one_line(error)}); restore the file") from error
    _check_numbers(name, values, _MOST_LAYERS)


def check_finite(name: str, model: Any) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        ModelError: one is.
    """
    for what, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.device.type != "meta" and not is_finite(tensor):
            raise ModelError(
                f"{name}: found values in {what} that are not finite, expected finite weights; restore the "
                "model's files or name another model"
            )


def is_finite(tensor: Any) -> bool:
    """Whether no value of a tensor is NaN or infinite."""
    # Of finite values the sum is finite but where it overflows; it takes no memory, and one pass.
    import torch

    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())


def _check_numbers(name: str, values: Any, most_layers: int) -> None:
    for key, value in _numbers(name, values):
        most = most_layers if _LAYERS.search(key) else _LARGEST
        if abs(value) > most:
            shown = str(value) if abs(value) < 10**20 else f"a number of {len(str(value))} digits"
            raise ModelError(
                f"{name}: {CONFIG}: {key}: found {shown}, expected {most:,} at most; the configuration is "
                "not that of its weights, so restore the file"
            )


def _numbers(name: str, values: Any) -> Iterator[tuple[str, int]]:
    """The whole numbers in a configuration, each with the key that it is found under."""
    level = [("", values)]
    for _ in range(_DEEPEST):
        below: list[tuple[str, Any]] = []
        for key, value in level:
            if isinstance(value, Mapping):
                below += [(str(inner)[:60], found) for inner, found in value.items()]
            elif isinstance(value, list | tuple):
                below += [(key, found) for found in value]
            elif isinstance(value, int) and not isinstance(value, bool):
                yield key, value
        if not below:
            return
        level = below
    raise ModelError(
        f"{name}: {CONFIG}: found values nested more than {_DEEPEST} deep, expected a model's configuration; "
        "restore the file"
    )


def _check_built(name: str, family: Any, config: Any, files: Collection[Path]) -> None:
    """Check that the model of a configuration is about as large as its weights, before it is built."""
    import torch
    from transformers.initialization import no_init_weights

    shapes = tensor_shapes(tuple(files))
    _check_numbers(name, config.to_dict(), max(len(shapes), _FEW))
    with torch.device("meta"), no_init_weights():
        model = family.from_config(config)
    held = sum(math.prod(shape) for shape in shapes.values())
    quantized = getattr(config, "quantization_config", None) is not None
    prefix = f"{model.base_model_prefix}."
    learned = {end for what, _ in model.named_parameters() for end in (what, what.removeprefix(prefix))}
    whole = sorted(learned & integer_tensors(tuple(files)))
    if whole and not quantized:
        raise ModelError(
            f"{name}: found whole numbers as {len(whole):,} of its weights{_such_as(whole)}, expected "
            "floating-point ones; restore the model's files or name another model"
        )
    body = sum(p.numel() for what, p in model.named_parameters() if _in_body(model, what))
    most = held * (_PACKED if quantized else 2) + _SPARE
    if body > most:
        raise ModelError(
            f"{name}: {CONFIG}: found a model of {body:,} parameters with weights of {held:,}, expected as "
            "many; the configuration is not that of its weights, so restore the files"
        )


def _in_body(model: Any, name: str) -> bool:
    """Whether a tensor is of what was pretrained: neither of a head nor of a pooler, which may start new."""
    if _POOLER.search(name):
        return False
    prefix = model.base_model_prefix
    if prefix and hasattr(model, prefix):
        return name.startswith(f"{prefix}.")
    return not _HEAD.search(name)


def _check_body(
    name: str, model: Any, missing: set[str], mismatched: set[str], unexpected: Collection[str]
) -> None:
    absent = sorted(what for what in missing if _in_body(model, what))
    other = sorted(what for what in mismatched if _in_body(model, what))
    if not (absent or other):
        return
    body = sum(_in_body(model, what) for what, _ in model.named_parameters())
    found = [f"{len(absent):,} of {body:,} tensors of the body are missing{_such_as(absent)}"]
    if other:
        found.append(f"{len(other):,} have other shapes{_such_as(other)}")
    if unexpected:
        found.append(f"{len(unexpected):,} are unexpected{_such_as(sorted(unexpected))}")
    raise ModelError(
        f"{name}: its weights do not fit its configuration: {', '.join(found)}; expected the weights that "
        "its config.json was saved with; restore the model's files or name another model"
    )


def _such_as(names: list[str]) -> str:
    shown = [f"{one if one.isprintable() else ascii(one)}"[:60] for one in names[:2]]
    return f" (such as {', '.join(shown)})" if shown else ""
