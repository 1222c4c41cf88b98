"""Record a finished demo under ``benchmarks/results/``, and print the README's table of it.

musclelora demo --output demo --seeds 3
python benchmarks/record_demo.py demo benchmarks/results/demo.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from musclelora.benchmark.schema import Grid
from musclelora.benchmark.store import read_begun, results_table
from musclelora.demo import means
from musclelora.files import write_json


def main() -> None:
    """Add the machine, versions and date to a demo's results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="the folder that `musclelora demo` wrote")
    parser.add_argument("output", type=Path)
    parser.add_argument("--note", help="how the runs were made, where that matters")
    options = parser.parse_args()
    begun = read_begun(options.demo)
    if begun is None:
        parser.error(f"{options.demo}: no demo in it")
    grid = Grid.model_validate(begun["grid"])
    found = means(options.demo, grid)
    where = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "peft")},
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"musclelora demo --seeds {len(grid.seeds)}",
    }
    if options.note:
        where["note"] = options.note
    rows = json.loads(results_table(options.demo).to_json(orient="records"))
    write_json(options.output, {**where, "settings": begun["grid"], "mean": found, "rows": rows})
    print(
        "| attack | method | CACC | ASR | excess ASR | CACC gap |\n| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for row in found:
        shares = (f"{100 * row[name]:.1f}" for name in ("cacc", "asr", "excess_asr", "cacc_gap"))
        print(f"| {row['attack']} | {row['method']} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
