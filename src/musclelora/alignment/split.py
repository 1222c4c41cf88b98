"""Two gradients from one forward and one backward pass.

A batch holds n training rows followed by trusted rows, and the loss is the sum of both halves' mean losses.
Each row's activations depend on that row alone, so the gradient of a weight is a sum over rows, and the part
that the training rows contribute is the training gradient g, the rest the trusted gradient t. For a dense
layer y = W x with δ = ∂loss/∂y::

    g_W = Σ_{rows < n} δ xᵀ          t_W = Σ_{rows ≥ n} δ xᵀ

The sum costs the same either way; only where it is cut differs. The forward pass and the backward pass
through the activations, which are nearly all of the work, are shared.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class NotSeparableError(RuntimeError):
    """A trainable module mixes rows, so that one pass cannot tell the two gradients apart."""


class TwoGradients:
    """Cuts the gradients of a module's trainable parameters at a row boundary.

    Inside :meth:`rows`, ``backward()`` adds the first rows' gradient to ``parameter.grad``, as usual, and
    the remaining rows' gradient to ``trusted[parameter]``. Both accumulate over several passes, under
    autocast and under activation checkpointing. Outside :meth:`rows` the module is as it was.

    Args:
        module: every submodule that directly owns a parameter with ``requires_grad`` must take one tensor,
            with one entry per row in its first dimension, and return another.

    Attributes:
        trusted: the accumulated trusted gradients, by parameter; cleared by :meth:`clear`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.trusted: dict[nn.Parameter, Tensor] = {}
        self._boundary: tuple[int, int] | None = None
        self._inside = False
        self._wrapped: list[_Forward] = []
        self._aliases: dict[nn.Parameter, Tensor] = {}
        self._names = {parameter: name for name, parameter in module.named_parameters()}
        for name, child in module.named_modules():
            trainable = any(parameter.requires_grad for parameter in child.parameters(recurse=False))
            # Statistics over rows mix them whether or not anything of the module is trained.
            if trainable or isinstance(child, nn.modules.batchnorm._BatchNorm):
                self._wrapped.append(_Forward(self, child, name or "the module"))

    @contextlib.contextmanager
    def rows(self, boundary: int, total: int) -> Iterator[None]:
        """Cut the gradients of the passes inside at row `boundary` of `total`.

        The block must hold the forward and the backward pass.

        Raises:
            NotSeparableError: a trainable module was given something other than one entry per row, or a
                parameter was used by another module than its own.
        """
        if not 0 < boundary < total:
            raise ValueError(f"the boundary must lie inside the batch: 0 < {boundary} < {total}")
        before = {parameter: _state(parameter) for parameter in self._names if parameter.requires_grad}
        self._boundary = (boundary, total)
        try:
            yield
        finally:
            self._boundary = None
            for parameter, alias in self._aliases.items():
                if alias.grad is not None:
                    self._add(parameter, alias.grad)
            self._aliases.clear()
        for parameter, state in before.items():
            if parameter not in self.trusted and _state(parameter) != state:
                raise NotSeparableError(
                    f"{self._names[parameter]}: its gradient did not come through the module that owns it"
                )

    def clear(self) -> None:
        """Forget the trusted gradients, as ``zero_grad`` does the training ones."""
        self.trusted.clear()

    def close(self) -> None:
        """Give every module its own ``forward`` back."""
        for forward in self._wrapped:
            forward.remove()
        self._wrapped.clear()
        self.clear()

    def _run(self, forward: _Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._boundary is None or self._inside or not torch.is_grad_enabled():
            return forward.plain(*args, **kwargs)
        _, total = self._boundary
        x = args[0] if args else None
        if not isinstance(x, Tensor) or x.dim() <= forward.dense or x.shape[0] != total:
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise NotSeparableError(f"{forward.name}: {total} rows expected first, found {found}")
        if any(isinstance(other, Tensor) for other in (*args[1:], *kwargs.values())):
            raise NotSeparableError(f"{forward.name}: one tensor expected, found several")
        if forward.dense:
            return self._split_linear(forward.module, x)
        return self._split_any(forward, x, *args[1:], **kwargs)

    def _split_linear(self, module: nn.Module, x: Tensor) -> Tensor:
        weight, bias = module.weight, module.bias
        kind = x.device.type
        if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
            # Autocast does not reach into an autograd function's backward: cast here, as it would have.
            dtype = torch.get_autocast_dtype(kind)
            x, weight = x.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        output: Tensor = _SplitLinear.apply(x, weight, bias, self, module)
        return output

    def _split_any(self, forward: _Forward, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the two halves separately, the second on aliases that share the parameters' memory."""
        assert self._boundary is not None  # noqa: S101 - narrowed by the caller
        boundary, total = self._boundary
        own = [
            (child, name, parameter)
            for child in forward.module.modules()
            for name, parameter in child.named_parameters(recurse=False)
            if parameter.requires_grad
        ]
        first, second = x.split([boundary, total - boundary])
        self._inside = True
        try:
            head = forward.plain(first, *args, **kwargs)
            for child, name, parameter in own:
                child._parameters[name] = self._alias(parameter)  # type: ignore[assignment]
            tail = forward.plain(second, *args, **kwargs)
        finally:
            self._inside = False
            for child, name, parameter in own:
                child._parameters[name] = parameter
        for half, rows in ((head, boundary), (tail, total - boundary)):
            if not isinstance(half, Tensor) or half.dim() == 0 or half.shape[0] != rows:
                found = tuple(half.shape) if isinstance(half, Tensor) else type(half).__name__
                raise NotSeparableError(f"{forward.name}: {rows} rows expected from it, found {found}")
        return torch.cat([head, tail])

    def _alias(self, parameter: nn.Parameter) -> Tensor:
        if parameter not in self._aliases:
            self._aliases[parameter] = parameter.detach().requires_grad_()
        return self._aliases[parameter]

    def _add(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        gradient = gradient.to(parameter.dtype)
        if parameter in self.trusted:
            self.trusted[parameter] += gradient
        else:
            self.trusted[parameter] = gradient


class _Forward:
    """What stands in for a module's ``forward``: its own, cut in two inside :meth:`TwoGradients.rows`."""

    def __init__(self, owner: TwoGradients, module: nn.Module, name: str) -> None:
        self.owner, self.module, self.name = owner, module, name
        self.plain: Callable[..., Any] = module.forward
        self.patched = "forward" in vars(module)
        self.dense = type(module).forward is nn.Linear.forward and not self.patched
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.owner._run(self, args, kwargs)

    def remove(self) -> None:
        if self.patched:
            self.module.forward = self.plain
        else:
            del self.module.forward

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A copied module runs its own forward on its own parameters.
        if self.patched:
            return copy.deepcopy(self.plain, memo)
        module = copy.deepcopy(self.module, memo)
        return type(module).forward.__get__(module)


def _state(parameter: nn.Parameter) -> tuple[int, int] | None:
    """Changes whenever the parameter's gradient does."""
    return None if parameter.grad is None else (id(parameter.grad), parameter.grad._version)


class _SplitLinear(torch.autograd.Function):
    """``nn.functional.linear`` whose backward cuts the parameter gradients at a row boundary."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, owner: TwoGradients, module: nn.Module
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.owner, ctx.module = owner, module
        assert owner._boundary is not None  # noqa: S101 - narrowed by the caller
        ctx.boundary = owner._boundary[0]
        with torch.autocast(x.device.type, enabled=False):
            return nn.functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = grad_outputs
        x, weight = ctx.saved_tensors
        boundary, owner, module = ctx.boundary, ctx.owner, ctx.module
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            grad_x = delta @ weight
        if needs_weight:
            grad_weight = _outer_sum(delta[:boundary], x[:boundary])
            owner._add(module.weight, _outer_sum(delta[boundary:], x[boundary:]))
        if needs_bias:
            grad_bias = _sum_rows(delta[:boundary])
            owner._add(module.bias, _sum_rows(delta[boundary:]))
        return grad_x, grad_weight, grad_bias, None, None


def _outer_sum(delta: Tensor, x: Tensor) -> Tensor:
    return delta.flatten(0, -2).T @ x.flatten(0, -2)


def _sum_rows(delta: Tensor) -> Tensor:
    return delta.flatten(0, -2).sum(0)
