"""What is published: the wheel and the source archive."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import musclelora

ROOT = Path(__file__).parents[1]
NAME = f"musclelora-{musclelora.__version__}"
LARGEST = 1_000_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, as the build backend makes them; nothing is downloaded."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def source_files() -> set[str]:
    """The files of the package, as paths from ``src``."""
    source = ROOT / "src"
    found = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    return {str(path) for path in found if "__pycache__" not in path.parts and path.parts[0] == "musclelora"}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    facts = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - facts == source_files()
    assert {Path(name).suffix for name in names - facts} == {".py", ".css", ".js", ".j2", ".yaml", ".typed"}
    assert {name.partition("/")[2] for name in facts} == {
        *("METADATA", "RECORD", "WHEEL"),
        *("entry_points.txt", "licenses/LICENSE"),
    }


def test_the_source_archive_holds_what_the_wheel_is_made_of(built: Path) -> None:
    archive = built / f"{NAME}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    package = {f"src/{name}" for name in source_files()}
    assert names - package == {
        *("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"),
        *("pyproject.toml", "PKG-INFO", ".gitignore"),
    }
    assert archive.stat().st_size < LARGEST
