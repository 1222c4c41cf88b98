"""A run's Fourier analysis in the report of an audit."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from tiny_runs import Fit

from musclelora import Audit
from musclelora.errors import DataError, ModelError
from musclelora.purification.run_card import add_measured
from musclelora.report import write_report
from musclelora.report.spectrum import spectrum_of
from musclelora.spectrum import analyse, load_analysis

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from saved_audits import poisoned_texts, write_saved


def test_the_curves_of_a_recorded_run_are_drawn(record: Fit, tmp_path: Path) -> None:
    record(tmp_path / "run")
    with pytest.raises(DataError, match="no analysis"):
        spectrum_of(tmp_path / "run")
    analyse(tmp_path / "run", resamples=20)
    found, analysis = spectrum_of(tmp_path / "run"), load_analysis(tmp_path / "run")
    assert found is not None
    assert [(group.name, group.rows) for group in found.groups] == [("clean", 24), ("triggered", 8)]
    assert found.steps == (analysis["steps"][0], analysis["steps"][-1])
    assert found.diagnosis == [line["text"] for line in analysis["diagnosis"]]
    lines = re.findall(r'<polyline class="(\w+)" points="([^"]*)"', found.groups[0].chart)
    assert [name for name, _ in lines] == ["low", "high"]
    error = analysis["curves"]["clean"]["e_low"]["value"]
    places = [tuple(map(float, place.split(","))) for place in lines[0][1].split()]
    assert [x for x, _ in places] == [600 * step / analysis["steps"][-1] for step in analysis["steps"]]
    assert [y for _, y in places] == pytest.approx([160 * (1 - e / found.top) for e in error], abs=0.1)
    write_saved(tmp_path / "audit", poisoned_texts(20))
    write_report(Audit.load(tmp_path / "audit"), tmp_path / "report.html", run=tmp_path / "run")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="spectrum"' in page
    assert "How the run learned" in page


def test_what_was_measured_of_a_run_is_in_the_report(record: Fit, tmp_path: Path) -> None:
    record(tmp_path / "run", settings=None)
    write_saved(tmp_path / "audit", poisoned_texts(20))
    audit = Audit.load(tmp_path / "audit")
    write_report(audit, tmp_path / "report.html", run=tmp_path / "run")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing was measured of it" in page
    assert "on other rows than those of this audit." in page
    interval = {"value": 0.25, "low": 0.2, "high": 0.32, "n": 1234}
    asr = {"name": "ASR", "on": "<b>triggered</b>.csv", "target": "sport", **interval}
    add_measured(tmp_path / "run", [asr])
    write_report(audit, tmp_path / "report.html", run=tmp_path / "run")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<h2 id="scores">') :].partition("</section>")[0]
    for shown in (
        "ASR",
        "&lt;b&gt;triggered&lt;/b&gt;.csv",
        "sport",
        "25\u00a0%",
        "20\u00a0% to 32\u00a0%",
        "1,234",
    ):
        assert shown in section


def test_a_run_of_the_audited_rows_is_told_by_their_hash(record: Fit, tmp_path: Path) -> None:
    record(tmp_path / "run", settings=None)
    file = write_saved(tmp_path / "audit", poisoned_texts(20)) / "audit.json"
    state, info = (json.loads(path.read_text()) for path in (file, tmp_path / "run" / "run.json"))
    state["facts"]["train"] = info["settings"]["data"]["train"]
    file.write_text(json.dumps(state))
    write_report(Audit.load(tmp_path / "audit"), tmp_path / "report.html", run=tmp_path / "run")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'The model of the run <bdi class="data">run</bdi>' in page
    assert "other rows than those of this audit" not in page


def test_a_run_without_an_analysis_has_no_section_and_no_run_is_refused(record: Fit, tmp_path: Path) -> None:
    record(tmp_path / "run", settings=None)
    assert spectrum_of(tmp_path / "run") is None
    write_saved(tmp_path / "audit", poisoned_texts(20))
    with pytest.raises(ModelError, match=r"no run.json in it"):
        write_report(Audit.load(tmp_path / "audit"), tmp_path / "report.html", run=tmp_path / "audit")
    assert not (tmp_path / "report.html").exists()
