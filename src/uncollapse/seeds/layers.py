"""Layers of several models of one architecture, run as one: every weight carries the seeds in front.

A stacked layer is a function from (S, B, *in) to (S, B, *out). The tensors of convolutions are views whose batch comes
first in memory, so that a chain of them is not copied in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.errors import Unsupported
from uncollapse.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from uncollapse.nets.mlp import Log1p

__all__ = ["Layer", "Weights", "stacked"]

Layer = Callable[[Tensor], Tensor]

ELEMENTWISE = (
    nn.ReLU, nn.ELU, nn.GELU, nn.LeakyReLU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Identity, Log1p,
)  # fmt: skip
CHAINS: dict[type[nn.Module], tuple[str, ...]] = {
    MLPEncoder: ("trunk", "head"),
    MLPDecoder: ("body", "head"),
    ConvEncoder: ("trunk", "head"),
    ConvDecoder: ("body",),
}


@dataclass
class Held:
    """One leaf and what it holds.

    Attributes:
        leaf: (S, *shape), or (S, in, out) for the weights (out, in) of linear layers: the gradient of a batched
            product then has the layout of its leaf and is not copied.
        members: the parameters whose values are its slices.
        turned: whether the slices are transposed.
    """

    leaf: nn.Parameter
    members: list[nn.Parameter]
    turned: bool

    def slices(self, whole: Tensor) -> list[Tensor]:
        """Views of a tensor of the leaf's shape, in the shape of the members."""
        return [one.T if self.turned else one for one in whole]

    def whole(self, values: Sequence[Tensor]) -> Tensor:
        """One tensor of the leaf's shape from values of the members' shape."""
        return torch.stack([one.T if self.turned else one for one in values])


class Weights:
    """Stacked leaves, each made once for the parameters that it holds.

    Attributes:
        held: in the order of first use.
    """

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.known: dict[int, Held] = {}

    def of(self, parameters: Sequence[Any], turned: bool = False) -> nn.Parameter | None:
        """The leaf of one parameter of each model; None where a layer has none.

        Raises:
            Unsupported: when one model shares a parameter between layers and another does not, or types differ.
        """
        if all(one is None for one in parameters):
            return None
        first = parameters[0]
        if id(first) not in self.known:
            if any(one.dtype != torch.float32 or one.requires_grad != first.requires_grad for one in parameters):
                raise Unsupported("weights should be float32 and trainable in all models or in none")
            made = Held(nn.Parameter(torch.empty(0)), list(parameters), turned)
            made.leaf = nn.Parameter(made.whole([one.detach() for one in parameters]), first.requires_grad)
            self.known[id(first)] = made
            self.held.append(made)
        found = self.known[id(first)]
        if found.turned != turned or any(a is not b for a, b in zip(found.members, parameters, strict=True)):
            raise Unsupported("the models share parameters between layers that differ")
        return found.leaf

    def share(self) -> None:
        """Make every parameter a view of its leaf, so that whoever reads a model sees the moving weights."""
        for one in self.held:
            for value, member in zip(one.slices(one.leaf.data), one.members, strict=True):
                member.data = value

    def part(self) -> None:
        """Give every parameter memory of its own again."""
        for one in self.held:
            for value, member in zip(one.slices(one.leaf.data), one.members, strict=True):
                member.data = value.clone(memory_format=torch.contiguous_format)


def stacked(modules: Sequence[Any], weights: Weights) -> Layer:
    """One layer or network of each model as a single function.

    Raises:
        Unsupported: for a layer that has no stacked form here, or layers that differ.
    """
    first = modules[0]
    kind = type(first)
    if any(type(one) is not kind or one.extra_repr() != first.extra_repr() for one in modules):
        raise Unsupported(f"the models differ in a {kind.__name__}: only models of one architecture can be stacked")
    if any(one._forward_hooks or one._forward_pre_hooks or one._backward_hooks for one in modules):
        raise Unsupported(f"a {kind.__name__} has hooks, which would not be called")
    if kind is nn.Sequential:
        return chained([stacked(layers, weights) for layers in zip(*modules, strict=True)])
    if kind in CHAINS:
        layers = [stacked([getattr(one, name) for one in modules], weights) for name in CHAINS[kind]]
        return chained([*layers, reshaped(modules)] if kind is MLPDecoder else layers)
    if kind in ELEMENTWISE:
        return first  # type: ignore[no-any-return]
    if kind in KINDS:
        return KINDS[kind](modules, weights)
    raise Unsupported(f"there is no stacked form of {kind.__name__}")


def chained(layers: Sequence[Layer]) -> Layer:
    """One layer after the other."""

    def run(h: Tensor) -> Tensor:
        for layer in layers:
            h = layer(h)
        return h

    return run


def reshaped(decoders: Sequence[Any]) -> Layer:
    """The last step of an `MLPDecoder`."""
    shape = decoders[0].shape
    if any(one.shape != shape for one in decoders):
        raise Unsupported("the decoders give observations of different shapes")
    return lambda h: torch.unflatten(h, 2, shape)


def linear(modules: Sequence[Any], weights: Weights) -> Layer:
    """One batched product."""
    weight, bias = weights.of([one.weight for one in modules], turned=True), weights.of([one.bias for one in modules])
    assert weight is not None

    def run(h: Tensor) -> Tensor:
        rows = h if h.ndim == 3 else h.reshape(len(h), -1, h.shape[-1])
        out = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, weight)
        return out if h.ndim == 3 else out.view(*h.shape[:-1], out.shape[-1])

    return run


def convolution(modules: Sequence[Any], weights: Weights) -> Layer:
    """One convolution whose groups are the seeds."""
    first, seeds = modules[0], len(modules)
    if first.padding_mode != "zeros":
        raise Unsupported(f"there is no stacked form of a convolution with padding_mode={first.padding_mode!r}")
    weight, bias = weights.of([one.weight for one in modules]), weights.of([one.bias for one in modules])
    assert weight is not None
    settings: dict[str, Any] = {name: getattr(first, name) for name in ("stride", "padding", "dilation")}
    call: Callable[..., Tensor] = functional.conv2d
    if type(first) is nn.ConvTranspose2d:
        call, settings["output_padding"] = functional.conv_transpose2d, first.output_padding

    def run(h: Tensor) -> Tensor:
        folded = h.transpose(0, 1).flatten(1, 2)
        shift = None if bias is None else bias.flatten()
        out = call(folded, weight.flatten(0, 1), shift, groups=seeds * first.groups, **settings)
        return torch.unflatten(out, 1, (seeds, -1)).transpose(0, 1)

    return run


def normalised(modules: Sequence[Any], weights: Weights) -> Layer:
    """Layer normalisation, each seed with its own scale and shift."""
    shape, eps = modules[0].normalized_shape, modules[0].eps
    weight, bias = weights.of([one.weight for one in modules]), weights.of([one.bias for one in modules])

    def run(h: Tensor) -> Tensor:
        lead = (len(h), *[1] * (h.ndim - 1 - len(shape)), *shape)
        h = functional.layer_norm(h, shape, eps=eps)
        h = h if weight is None else h * weight.view(lead)
        return h if bias is None else h + bias.view(lead)

    return run


def flattened(modules: Sequence[Any], weights: Weights) -> Layer:
    """Flatten, one dimension further on."""
    start, end = (after(modules[0].start_dim), after(modules[0].end_dim))
    return lambda h: h.flatten(start, end)


def unflattened(modules: Sequence[Any], weights: Weights) -> Layer:
    """Unflatten, one dimension further on."""
    dim, size = after(modules[0].dim), modules[0].unflattened_size
    return lambda h: torch.unflatten(h, dim, size)


def after(dim: int) -> int:
    """A dimension of (B, *X) as one of (S, B, *X)."""
    if dim == 0:
        raise Unsupported("a layer folds the batch dimension")
    return dim + 1 if dim > 0 else dim


def dropout(modules: Sequence[Any], weights: Weights) -> Layer:
    """Only the one that drops nothing: the noise of separate runs cannot be drawn for all of them at once."""
    if modules[0].p > 0:
        raise Unsupported("Dropout draws noise of its own")
    return lambda h: h


KINDS: dict[type[nn.Module], Callable[[Sequence[Any], Weights], Layer]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.ConvTranspose2d: convolution,
    nn.LayerNorm: normalised,
    nn.Flatten: flattened,
    nn.Unflatten: unflattened,
    nn.Dropout: dropout,
}
