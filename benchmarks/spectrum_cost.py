"""What the Gaussian split costs: 25 dense kernels against the streamed filter, and the training callback.

Each row of the table is measured in a process of its own, on made-up texts of SST-2's lengths (24 tokens in
the mean, at most 64) and vectors of 384 numbers:

  dense      the flattened inputs N × D, all distances, all 25 kernels N × N, as the published code does it
  dense-one  the same, but one kernel at a time: what a careful dense program needs
  streamed   GaussianFilter, which holds none of these

Seconds are those of one split of labels (N × 2) by 25 values of σ. `peak_mb` is the process's own peak;
`working_mb` what it grew by while it computed. The least that must be done is the inner products of all
pairs, N²/2 · D multiplications and additions; `gflop` counts them with the padding left out, which only the
streamed computation does leave out.

With --callback the cost of the training callback is measured too: the embedded encoder is trained with and
without it, in turn, on a sample of 2,000 rows at the default settings. `--pairs` of such runs begin now with
the one, now with the other, so that a machine that slows down slows both. What is compared is processor time,
which other programs disturb less than they do the clock on the wall; with one thread, as a second one that
waits for the first would count its waiting.

    python benchmarks/spectrum_cost.py --json benchmarks/results/spectrum-cost.json
    python benchmarks/spectrum_cost.py --compared "" --alone "" --callback --pairs 3 --threads 1 \
        --train-rows 2000 --epochs 2 --bf16 --json benchmarks/results/spectrum-callback.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

SIGMAS, WIDTH, VOCABULARY, LONGEST = 25, 384, 8000, 64
COMPARED, ALONE = "2000,6920", "20000,50000"


def main() -> None:
    """Measure every row; print the table and write it as JSON after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compared", default=COMPARED, help="row counts of all three, separated by commas")
    parser.add_argument("--alone", default=ALONE, help="row counts of the streamed one alone")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--callback", action="store_true", help="measure the training callback too")
    parser.add_argument("--callback-rows", type=int, default=2000, help="rows of its sample")
    parser.add_argument("--pairs", type=int, default=1, help="runs with and without it, of each method")
    parser.add_argument("--train-rows", type=int, default=6920, help="rows to train on with it")
    parser.add_argument("--epochs", type=float, default=3, help="epochs to train with it")
    parser.add_argument("--bf16", action="store_true", help="train under bfloat16 autocast")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    if options.one:
        kind, rows = options.one
        print(json.dumps(measure(kind, int(rows))))
        return
    results: dict[str, Any] = {**machine(), "sigmas": SIGMAS, "width": WIDTH, "rows": []}
    compared, alone = (
        [int(count) for count in text.split(",") if count] for text in (options.compared, options.alone)
    )
    cells = [(kind, count) for count in compared for kind in ("dense", "dense-one", "streamed")]
    cells += [("streamed", count) for count in alone]
    print(f"{'':<10}{'rows':>8}{'seconds':>10}{'peak MB':>10}{'working MB':>12}{'GFLOP/s':>9}{'error':>10}")
    for kind, count in cells:
        row = in_a_process(kind, count, options.threads)
        results["rows"].append(row)
        print(
            f"{kind:<10}{count:>8,}{row['seconds']:>10.2f}{row['peak_mb']:>10.0f}{row['working_mb']:>12.0f}"
            f"{row['gflop'] / row['seconds']:>9.1f}{row['error']:>10.1e}",
            flush=True,
        )
        results["growth"] = growth(results["rows"])
        keep(options.json, results)
    if options.callback:
        results["callback"] = []
        for pair in callback_cost(options):
            print(pair, flush=True)
            results["callback"].append(pair)
            results["callback_added"] = added(results["callback"])
            keep(options.json, results)
        print(results["callback_added"])


def measure(kind: str, count: int) -> dict[str, Any]:
    """Seconds and memory of one computation in this process, and how far 200 rows of it are from float64."""
    import numpy as np
    import torch

    from musclelora.spectrum import GaussianFilter, sigma_grid, sigma_range

    torch.set_flush_denormal(True)
    inputs = made_up(count)
    y = torch.nn.functional.one_hot(torch.arange(count) % 2, 2).float()
    sigmas = sigma_grid(*sigma_range(inputs), SIGMAS)
    before = forget_peak()
    started = time.perf_counter()
    if kind == "streamed":
        low = GaussianFilter(inputs, sigmas, device="cpu").low(y)
    else:
        low = dense(inputs, y, sigmas, together=kind == "dense")
    seconds = time.perf_counter() - started
    peak = memory("VmHWM")
    chosen = torch.from_numpy(np.random.default_rng(0).choice(count, min(count, 200), replace=False))
    lengths = np.sort(inputs.lengths.numpy())
    # Of two texts only the positions that both have; sorted, the shorter one of a pair comes first.
    shared = float((lengths * np.arange(count, 0, -1)).sum())
    return {
        "kind": kind,
        "rows": count,
        "seconds": seconds,
        "peak_mb": peak,
        "working_mb": peak - before,
        "gflop": 2 * shared * WIDTH / 1e9,
        "error": float((low[:, chosen] - exact(inputs, y, sigmas, chosen)).abs().max()),
    }


def made_up(count: int) -> Any:
    """Texts of SST-2's lengths over a vocabulary with a few frequent words, as token inputs."""
    import numpy as np
    import torch

    from musclelora.spectrum import TokenInputs

    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.05, 0.45, count), 4, LONGEST).astype(int)
    words = [np.minimum(rng.zipf(1.3, length), VOCABULARY - 1).tolist() for length in lengths]
    table = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.05
    return TokenInputs.of(words, table, padding=0)


def flattened(inputs: Any) -> Any:
    """The inputs as the matrix that they stand for."""
    import torch

    every = torch.arange(len(inputs))
    return inputs.features(every, 0, inputs.ids.shape[1] * WIDTH)


def dense(inputs: Any, y: Any, sigmas: Any, *, together: bool) -> Any:
    """G_σ Y by whole matrices, all kernels together or one after the other."""
    import torch

    x = flattened(inputs)
    norms = x.square().sum(1)
    distances = (norms[:, None] + norms[None] - 2 * (x @ x.T)).clamp_min_(0)
    if together:
        kernels = [torch.exp(distances / (-2 * sigma)) for sigma in sigmas]
        kernels = [kernel.div_(kernel.sum(1, keepdim=True)) for kernel in kernels]
        return torch.stack([kernel @ y for kernel in kernels]).double()
    found = []
    for sigma in sigmas:
        kernel = torch.exp(distances / (-2 * sigma))
        found.append((kernel @ y) / kernel.sum(1, keepdim=True))
    return torch.stack(found).double()


def exact(inputs: Any, y: Any, sigmas: Any, rows: Any) -> Any:
    """G_σ Y at some rows, in float64, a few columns at a time."""
    import torch

    double = inputs.to(torch.device("cpu"), torch.float64)
    width = inputs.ids.shape[1] * WIDTH
    mine = double.features(rows, 0, width)
    own = mine.square().sum(1)
    sums = torch.zeros(len(sigmas), len(rows), y.shape[1] + 1, dtype=torch.float64)
    weighed = torch.cat([y.double(), torch.ones(len(y), 1, dtype=torch.float64)], 1)
    for columns in torch.arange(len(inputs)).split(256):
        theirs = double.features(columns, 0, width)
        distances = (own[:, None] + theirs.square().sum(1)[None] - 2 * mine @ theirs.T).clamp_min(0)
        for number, sigma in enumerate(sigmas):
            sums[number] += torch.exp(distances / (-2 * sigma)) @ weighed[columns]
    return sums[..., :-1] / sums[..., -1:]


def callback_cost(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of training with and without the callback, pair by pair, vanilla and MuScleLoRA in turn."""
    import numpy as np
    import torch
    from transformers.utils import logging

    from musclelora.data import Table
    from musclelora.purification import METHODS, train_classifier
    from musclelora.spectrum import SpectrumCallback, SpectrumSettings
    from musclelora.spectrum.records import Records

    logging.disable_progress_bar()
    torch.set_flush_denormal(True)  # as the commands do
    rng = np.random.default_rng(0)
    words = ["the", "film", "is", "a", "good", "bad", "long", "short", "story", "of", "one", "man", "who"]
    lengths = np.clip(rng.lognormal(2.85, 0.45, options.train_rows + 96), 3, 50).astype(int)
    texts = tuple(" ".join(rng.choice(words, length)) for length in lengths)
    table = Table(texts, np.arange(len(texts), dtype=np.int64) % 2, ("0", "1"))
    train, trusted = table.select(np.arange(options.train_rows)), table.select(np.arange(-96, 0) % len(table))
    settings = SpectrumSettings(rows=options.callback_rows)
    for number, method in itertools.product(range(options.pairs), ("full", "musclelora")):
        seconds, cpu, records = {}, {}, []
        for watched in (False, True) if number % 2 == 0 else (True, False):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "run"
                clock = processor_clock()
                run = train_classifier(
                    path,
                    train=train,
                    trusted=trusted,
                    method=METHODS[method],
                    arguments={
                        "num_train_epochs": options.epochs,
                        "bf16": options.bf16,
                        "disable_tqdm": True,
                        "save_strategy": "no",
                    },
                    select_best="last",
                    callbacks=[clock, *([SpectrumCallback(path, train, settings)] if watched else [])],
                )
                seconds[watched], cpu[watched] = run.info["result"]["seconds"], clock.seconds
                records += Records(path).read() if watched else []
        spent, training = (sum(line[name] for line in records) for name in ("seconds", "training_seconds"))
        yield {
            "method": method,
            "sample": settings.rows,
            "steps": run.info["result"]["steps"],
            "recorded": [line["step"] for line in records],
            "seconds_without": seconds[False],
            "seconds_with": seconds[True],
            "cpu_without": cpu[False],
            "cpu_with": cpu[True],
            "added": cpu[True] / cpu[False] - 1,
            "added_by_its_own_account": spent / training,
        }


def processor_clock() -> Any:
    """A callback that takes the processor time of a training run, of all of its threads."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        seconds = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.seconds = -time.process_time()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds += time.process_time()

    return Clock()


def added(pairs: list[dict[str, Any]]) -> dict[str, float]:
    """What the callback adds, of the processor time without it: all pairs of a method together."""
    found = {}
    for method in dict.fromkeys(pair["method"] for pair in pairs):
        own = [pair for pair in pairs if pair["method"] == method]
        found[method] = sum(p["cpu_with"] for p in own) / sum(p["cpu_without"] for p in own) - 1
    return found


def growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the streamed seconds grow, against N²: 1 is as N² does."""
    streamed = [row for row in rows if row["kind"] == "streamed"]
    return [
        {
            "from": one["rows"],
            "to": two["rows"],
            "over_n_squared": two["seconds"] / one["seconds"] / (two["rows"] / one["rows"]) ** 2,
        }
        for one, two in itertools.pairwise(streamed)
    ]


def in_a_process(kind: str, count: int, threads: int | None) -> dict[str, Any]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", kind, str(count)]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind} at {count} rows failed ({done.returncode}): {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def forget_peak() -> float:
    """Start measuring the peak anew; what the process holds now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def keep(path: Path | None, results: dict[str, Any]) -> None:
    """Write what is there so far."""
    if path is not None:
        from musclelora.files import write_json

        write_json(path, results)


def machine() -> dict[str, str]:
    """Where, when and how it was measured."""
    import torch

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "benchmarks/spectrum_cost.py", *sys.argv[1:]]),
    }


if __name__ == "__main__":
    main()
