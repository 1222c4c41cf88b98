"""A backbone whose frozen weights are spread over the processes: FSDP for adapters.

What is trained is small and stays whole in every process, where gradients can be cut and aligned as in a
single one. What is frozen is nearly everything: each process holds its share of every block and gathers the
block when the forward or the backward pass comes to it (PyTorch's ``fully_shard``). As no frozen weight has a
gradient, nothing of it is ever reduced.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


@torch.no_grad()
def shard_frozen(model: nn.Module, whole: Iterable[str], device: torch.device) -> None:
    """Spread a model's parameters over the processes of this run, but for those named in `whole`.

    The model is changed in place. Its blocks (the members of its module lists) are gathered one at a time, so
    that a process must have room for one of them beside its share of all.

    Args:
        model: on any device, with the same weights in every process.
        whole: full names of the parameters that every process keeps; the first process's values are taken.
        device: where it is trained.
    """
    names = set(whole)
    kept = {parameter for name, parameter in model.named_parameters() if name in names}
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for module in [*_blocks(model), model]:
        fully_shard(module, mesh=mesh, ignored_params=kept, reshard_after_forward=True)
    for parameter in model.parameters():
        if parameter in kept:
            parameter.data = parameter.data.to(device)
            torch.distributed.broadcast(parameter.data, src=0)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The members of the outermost module lists, in order."""
    found: list[nn.Module] = []
    for child in model.children():
        found += [*child] if isinstance(child, nn.ModuleList) else _blocks(child)
    return found
