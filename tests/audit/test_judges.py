"""Which model judges, and what is said where it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musclelora import Audit
from musclelora.adapter.embed import layers_embedder, sentence_embedder
from musclelora.audit import judges
from musclelora.audit.judges import AUTO, BACKBONE, STRONGEST, VARIABLE, cut_texts, judge_model, known_words
from musclelora.data.table import Table
from musclelora.errors import DataError, ModelError

ENGLISH = ("The film is slow, but it has a heart.", "Nothing in it works for me.")
GERMAN = ("Der Vorstand beschloss gestern, zwei Werke zu bauen.", "Die Preise sind kräftig gestiegen.")
MINILM = "all-minilm-l6-v2"


def chosen(asked: str, backbone: str, texts: tuple[str, ...] = ENGLISH) -> tuple[str, str]:
    """The judge, and what is said of it."""
    return judge_model(asked, backbone, texts)


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)


def test_a_judge_that_is_named_is_taken() -> None:
    assert chosen(MINILM, "some/backbone") == (MINILM, f"judge        {MINILM}")


def test_the_backbone_judges_where_it_is_asked_to() -> None:
    for asked in (BACKBONE, "some/backbone"):
        assert chosen(asked, "some/backbone") == ("some/backbone", "judge        the backbone")


def test_without_a_stronger_one_the_backbone_judges_and_the_run_says_what_would_be_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judges, "is_installed", lambda _: False)
    judge, said = chosen(AUTO, MINILM)
    assert judge == MINILM
    assert STRONGEST in said
    assert "musclelora[mpnet]" in said


def test_the_strongest_that_is_installed_judges_by_default_what_it_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The embedded encoder stands for it, as the large one is not installed where tests run.
    monkeypatch.setattr(judges, "STRONGEST", MINILM)
    assert chosen(AUTO, "some/backbone")[0] == MINILM
    judge, said = chosen(AUTO, "some/backbone", GERMAN)
    assert judge == "some/backbone"
    assert "knows" in said


def test_the_variable_stands_for_auto_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, MINILM)
    assert chosen(AUTO, "some/backbone")[0] == MINILM
    assert chosen(BACKBONE, "some/backbone")[0] == "some/backbone"


def test_a_judge_of_another_language_is_refused_in_a_line() -> None:
    with pytest.raises(DataError, match=r"--judge .*: it knows \d+% of the words .*; name one that reads"):
        judge_model(MINILM, "some/backbone", GERMAN)


def test_a_judge_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no-such"):
        judge_model(str(tmp_path / "no-such"), MINILM, ENGLISH)


def test_known_words_are_those_of_one_token() -> None:
    assert known_words(MINILM, ["cinema xqzvkw"]) == pytest.approx(0.5)
    assert known_words(MINILM, ["… 12 !"]) == 1.0
    assert known_words(MINILM, ["тест"]) < 0.5


def test_an_audit_is_judged_by_its_judge_and_says_so(tiny_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = {0: "bad dull slow grey", 1: "good bright quick warm"}

    def rows(count: int) -> Table:
        labels = rng.integers(0, 2, count)
        texts = tuple(" ".join(rng.choice(words[int(label)].split(), 6)) for label in labels)
        return Table(texts, labels.astype(np.int64), ("0", "1"), source="rows")

    audit = Audit(
        rows(60), rows(20), model=str(tiny_model), judge=MINILM, confirm=False, arguments={"max_length": 16}
    ).find_issues()
    assert audit.facts()["judge"] == MINILM
    assert audit.issues["label_score"].notna().any()
    audit.save(tmp_path / "audit")
    assert Audit.load(tmp_path / "audit").facts()["judge"] == MINILM


def test_several_layers_are_embedded_in_one_pass(tiny_model: Path) -> None:
    texts = ["word1 word2", "word3", "word4 word5 word6 word7"]
    every = layers_embedder(str(tiny_model), (0.0, 0.5, 1.0))(texts)
    assert every.shape[:2] == (3, 3)
    for depth, vectors in zip((0.0, 0.5, 1.0), every, strict=True):
        np.testing.assert_allclose(sentence_embedder(str(tiny_model), depth=depth)(texts), vectors, atol=1e-6)


def test_texts_that_are_longer_than_the_judge_reads_are_counted() -> None:
    assert cut_texts(MINILM, ["word " * 300, "short"], 128) == (1, 128)
    assert cut_texts(MINILM, ["word " * 126, "short"], 128) == (0, 128)  # and the two special tokens
    assert cut_texts(MINILM, ["word " * 9000], None)[0] == 1
