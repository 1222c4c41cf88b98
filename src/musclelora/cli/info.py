"""``musclelora info``."""

from __future__ import annotations

import platform
from importlib import metadata, util
from pathlib import Path

import click

from musclelora import __version__
from musclelora.cli.terminal import printable
from musclelora.data.embedded import embedded_packages
from musclelora.data.messages import shown
from musclelora.data.places import exists, missing
from musclelora.errors import ModelError

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")


@click.command(name="info")
@click.argument("run", required=False, metavar="[RUN]")
def command(run: str | None) -> None:
    """Show versions and devices, or what the run in the folder RUN is."""
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
    for name, (packages, install) in embedded_packages().items():
        there = "installed" if all(map(util.find_spec, packages)) else f"not installed: {install}"
        click.echo(f"{name:<12} {there}")


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
