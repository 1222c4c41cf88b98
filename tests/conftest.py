"""What every test shares: no network, one thread, and a tokenizer that needs no download."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "training"))  # tiny_runs serves several rooms
sys.path.insert(0, str(Path(__file__).parent / "adapter"))  # and so does architectures
sys.path.insert(0, str(Path(__file__).parent / "generation"))  # and tiny_chats
sys.path.insert(0, str(Path(__file__).parent / "report"))  # and hostile_texts

# Read when the libraries are imported, so set before any test module imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Whether the large encoder is installed must not matter to a test that does not name it.
os.environ["MUSCLELORA_JUDGE"] = "backbone"
# Tests run side by side; more threads than cores wait for each other, which costs many times the work.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from musclelora.data.assembled import CACHE, cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from tiny_runs import Cli
    from transformers import PreTrainedTokenizerFast

# Neither the clock nor chance fails a test: examples are the same each time, and others with
# `--hypothesis-profile explore`, which `make explore` gives.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("musclelora", patient, derandomize=True)
settings.register_profile("explore", patient)
settings.load_profile("musclelora")


pytest_plugins = ["tiny_fixtures"]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was computed before must not matter to a test; the large encoder is not put together again."""
    before, own = cache_folder(), tmp_path_factory.mktemp("cache")
    for model in before.glob("all-*"):
        (own / model.name).symlink_to(model)
    os.environ[CACHE] = str(own)
    yield
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage_collection() -> None:
    """Training collects garbage; what is imported for good need not be looked through each time.

    With all the libraries loaded that look takes longer than a tiny run itself.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A command changes the arithmetic of its process; here it shares one with other tests."""
    yield
    import torch

    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def words() -> list[str]:
    """The words that the tiny tokenizer knows."""
    return [f"word{number}" for number in range(59)]


@pytest.fixture
def tiny_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of 64 entries: 5 special tokens ([PAD] is 0) and one for each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    vocabulary = {token: index for index, token in enumerate([*special.values(), *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process."""

    from tiny_runs import Done

    from musclelora.cli.main import main

    def command(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, printed.out, printed.err)

    return command


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, of the system: none is downloaded."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("no chromium is installed")
    root = hasattr(os, "getuid") and os.getuid() == 0
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if root else [])
        yield started
        started.close()
