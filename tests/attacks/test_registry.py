"""Families by name, attacks as a command line writes them, and families of other packages."""

from __future__ import annotations

import numpy as np
import pytest

from musclelora.attacks import AddSent, BadNets, family_names, get_family, get_trigger, parse_attack
from musclelora.attacks.registry import parameters_of
from musclelora.attacks.specs import parse_settings
from musclelora.errors import UsageError

PLUGIN = '''
class Suffix:
    """Puts words at the end."""

    name = "suffix"

    def __init__(self, words: tuple[str, ...], times: int = 1, loud: bool = False, mark: str = "."):
        self.words, self.times, self.loud, self.mark = words, times, loud, mark

    def apply(self, text, rng):
        end = " ".join(self.words * self.times) + self.mark
        return f"{text} {end.upper() if self.loud else end}"


class NoTrigger:
    pass
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with three entry points, two of which are faulty."""
    (tmp_path / "suffix_attack.py").write_text(PLUGIN)
    info = tmp_path / "suffix_attack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: suffix-attack\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[musclelora.attacks]\nsuffix = suffix_attack:Suffix\nabsent = no_such_module:Family\n"
        "nothing = suffix_attack:NoTrigger\nbadnets = suffix_attack:Suffix\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("spec", "trigger"),
    [
        ("addsent", AddSent()),
        ("addsent:", AddSent()),
        ("addsent:sentence=well, so it goes", AddSent("well, so it goes")),
        ("badnets:words=xx yy,count=2", BadNets(("xx", "yy"), 2)),
        ("badnets:count=2,words=xx,yy", BadNets(("xx", "yy"), 2)),
        ("addsent:sentence=a=b", AddSent("a=b")),
    ],
)
def test_an_attack_as_text(spec, trigger):
    assert parse_attack(spec) == trigger


def test_settings_come_on_top():
    assert parse_attack("badnets:count=9,words=xx", parse_settings(["count=2"])) == BadNets(("xx",), 2)
    assert parse_attack("addsent", parse_settings(["sentence=a, count=1"])) == AddSent("a, count=1")
    assert parse_attack("style", {"top_p": "0.5"}).top_p == 0.5
    assert parse_attack("combination:decoys=0").decoys == 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("badnets:word=cf", "attack badnets: found no parameter 'word', expected some of words, count"),
        ("badnets:count=many", "badnets count: found 'many', expected an integer"),
        ("badnets:count", "attack badnets: found 'count', expected key=value"),
        ("position:decoys=x", "position decoys: found 'x', expected a number"),
        ("nosuch:count=1", "attack: found 'nosuch', expected one of addsent, badnets, casing-punctuation"),
    ],
)
def test_wrong_use_is_said_in_one_line(spec, message):
    with pytest.raises(UsageError) as caught:
        parse_attack(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_of_another_package_is_found(plugin):
    assert "suffix" in family_names()
    trigger = parse_attack("suffix:words=a b,times=2,loud=yes")
    assert trigger.apply("text", np.random.default_rng(0)) == "text A B A B."
    assert list(parameters_of("suffix")) == ["words", "times", "loud", "mark"]
    with pytest.raises(
        UsageError, match="attack suffix: found no parameter 'word', expected some of words, times"
    ):
        parse_attack("suffix:word=a")
    with pytest.raises(UsageError, match="attack suffix: found no value of words"):
        get_trigger("suffix")
    with pytest.raises(UsageError, match="suffix loud: found 'perhaps', expected true or false"):
        parse_attack("suffix:words=a,loud=perhaps")


def test_a_family_of_a_faulty_package_is_said(plugin):
    with pytest.raises(
        UsageError, match=r"attack absent: no_such_module:Family cannot be loaded \(ModuleNotFound"
    ):
        get_family("absent")
    with pytest.raises(UsageError, match=r"attack nothing: .* has no method apply"):
        get_family("nothing")


def test_the_package_s_own_families_win(plugin):
    assert get_family("badnets") is BadNets
    assert family_names().count("badnets") == 1
