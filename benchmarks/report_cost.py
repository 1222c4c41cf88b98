"""What the report of an audit costs: seconds to write, bytes, and milliseconds until a browser can be used.

Rows of ordinary length (20 words of a made-up language, a share of them with a trigger) lie in the folder of
an audit, as the tests make them. The page is opened in headless Chromium several times; `ready` is the time
from the start of the navigation until rows, map and controls are there.

    python benchmarks/report_cost.py --json benchmarks/results/report-cost.json
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from musclelora import Audit
from musclelora.files import write_json
from musclelora.report import write_report
from record import argument_parser, machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
from saved_audits import poisoned_texts, write_saved

READY = "performance.getEntriesByName('report-ready')[0].startTime"
SEARCH = """async () => {
  const began = performance.now(), query = document.getElementById("query");
  query.value = "movie";
  query.dispatchEvent(new Event("input"));
  const table = document.getElementById("table");
  await new Promise((done) => new MutationObserver(done).observe(table, {childList: true}));
  return performance.now() - began;
}"""


def main() -> None:
    """Measure every size, and write what was found."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rows", default="1000,10000", help="separated by commas")
    parser.add_argument("--times", type=int, default=7, help="how often a page is opened")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="Chromium's program")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
        found = [measured(browser, int(rows), options.times) for rows in options.rows.split(",")]
        write_json(options.json, {**machine(), "browser": f"Chromium {browser.version}", "sizes": found})
        browser.close()


def measured(browser: Browser, rows: int, times: int) -> dict[str, Any]:
    """Write and open the report of that many rows."""
    with tempfile.TemporaryDirectory() as folder:
        saved = write_saved(Path(folder) / "audit", poisoned_texts(rows))
        file = Path(folder) / "report.html"
        began = time.perf_counter()
        write_report(Audit.load(saved), file)
        seconds = time.perf_counter() - began
        ready, search = zip(*(opened(browser, file) for _ in range(times)), strict=True)
        found = {
            "rows": rows,
            "bytes": file.stat().st_size,
            "seconds_to_write": round(seconds, 2),
            "ready_ms": {"median": round(statistics.median(ready)), "largest": round(max(ready))},
            "search_ms": {"median": round(statistics.median(search)), "largest": round(max(search))},
        }
    print(json.dumps(found), flush=True)
    return found


def opened(browser: Browser, file: Path) -> tuple[float, float]:
    """Milliseconds until the page is ready, and of one search with the 120 that it waits for more letters."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    found = page.evaluate(READY), page.evaluate(SEARCH)
    context.close()
    return found


if __name__ == "__main__":
    main()
