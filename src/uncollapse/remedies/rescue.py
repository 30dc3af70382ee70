"""Rescue of a collapsed model: the encoder learns to encode, a fresh decoder to read it, then the KL comes back."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.draw import Model
from uncollapse.errors import BadInput, Unsupported
from uncollapse.processes.shards import in_pieces
from uncollapse.remedies.base import Inner, Remedy
from uncollapse.remedies.rate import FreeBits, FreeBitsMode
from uncollapse.schedules import Linear
from uncollapse.sides import sides

__all__ = ["Rescue", "check_decoder", "reset_decoder"]


class Rescue(Remedy):
    r"""Three phases by the step t: an autoencoder, a fresh decoder, and a KL weight that rises from 0.

    $r(\mathrm{KL}_j) = w(t)\,\max(\lambda, \mathrm{KL}_j)$ with $w(t) = \min(\max(\tfrac{t - P}{A}, 0), 1)$. After
    step P the decoder is given fresh weights, while the encoder keeps what it has learnt.

    The autoencoder is one of samples: without a price on the KL the posterior narrows by itself, and the means drift
    apart, the longer the further. What is left of this distance is worked off while the weight rises, so P should be as
    long as the encoder needs and no longer. Where the collapsed model has the better bound, a floor of 0 ends in
    collapse once more.

    Arguments:
        pretrain: P, steps as an autoencoder.
        anneal: A, steps over which the weight of the KL rises from 0 to 1.
        floor: lambda, nats, per latent or per example as in `FreeBits`; 8 per example for 32 latents in the paper,
            which is 0.25 per latent. 0 is none.
        mode: what the floor is held against, as in `FreeBits`.
        reset: whether the decoder is given fresh weights; if not, it is trained on.

    The reset calls `reset_parameters` of every module of the decoder, inner ones first, and draws from the global
    random streams, which `fit` seeds at every step. An optimiser with moments (Adam) keeps those of the old weights
    for a while: `uncollapse.rescue` starts the optimiser afresh too, as published.

    Raises:
        BadInput: when a number makes no sense.
        Unsupported: at the first step, when a module of the decoder does not know how to start afresh.

    References:
        Li et al., 2019, https://arxiv.org/abs/1909.00868, section 3, and the released code,
        https://github.com/bohanli/vae-pretraining-encoder.

    Example:
        >>> rescue = Rescue(pretrain=100, anneal=50, floor=0.0)
        >>> rescue.arrives
        150
        >>> rescue.step = 125
        >>> rescue.rate(torch.ones(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    sources = (
        "Li et al., 2019, A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text, "
        "https://arxiv.org/abs/1909.00868",
    )

    def __init__(
        self,
        pretrain: int,
        anneal: int,
        floor: float = 0.25,
        mode: FreeBitsMode = "per_dimension",
        reset: bool = True,
    ) -> None:
        pretrain, anneal = positive("pretrain", pretrain), positive("anneal", anneal)
        super().__init__(Linear(0.0, 1.0, over=anneal, delay=pretrain))
        self.free_bits = FreeBits(floor, mode)
        self.pretrain, self.anneal = pretrain, anneal
        if not isinstance(reset, bool):
            raise BadInput(f"reset should be True or False, got {reset!r}")
        self.reset = reset

    def rate(self, kl: Tensor) -> Tensor:
        """The KL above its floor times the current weight, (B, D) nats."""
        return self.current_weight * self.free_bits.rate(kl)

    def before_step(self, inner: Inner) -> frozenset[str]:
        """Refuse a decoder that cannot start afresh at once, and not after the first phase."""
        if self.reset and self.step == 0:
            check_decoder(inner.model)
        return frozenset()

    def after_step(self, model: Model) -> None:
        """Count the step; at the end of the first phase, reset the decoder."""
        super().after_step(model)
        if self.reset and self.step == self.pretrain:
            reset_decoder(model)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        floor = self.free_bits.extra_repr()
        return f"pretrain={self.pretrain}, anneal={self.anneal}, {floor}, reset={self.reset}"


def check_decoder(model: Any) -> None:
    """Refuse a decoder in which a module owns parameters and has no way to draw fresh ones.

    Raises:
        Unsupported: naming the module.
    """
    for name, module in parts_of_decoder(model):
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if any(in_pieces(p) for p in module.parameters(recurse=False)):
            raise Unsupported(
                "a decoder whose weights are shared out cannot be reset; use strategy='ddp' or reset=False"
            )
        if own and starter(module) is None:
            raise Unsupported(
                f"the decoder cannot be reset: {name} ({type(module).__name__}) owns {', '.join(own)} and has no "
                "reset_parameters(); give it one that draws fresh weights in place, or take reset=False"
            )


@torch.no_grad()
def reset_decoder(model: Any) -> None:
    """Fresh weights and statistics for a decoder, in place; parameters that the encoder shares stay.

    Raises:
        Unsupported: when a module has no `reset_parameters`, or one that leaves random weights as they were.
    """
    check_decoder(model)
    members = list(parts_of_decoder(model))
    encoders = parts(model, "encoder")
    shared = {id(p) for encoder in encoders for p in encoder.parameters()}
    before = {p: p.clone() for _, module in members for p in module.parameters(recurse=False)}
    for _, module in reversed(members):  # an outer module may set its inner ones up in its own way
        start = starter(module)
        if start is not None:
            start()
    for name, module in members:
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) in shared:
                parameter.copy_(before[parameter])
            elif torch.equal(parameter, before[parameter]) and parameter.numel() and parameter.min() < parameter.max():
                raise Unsupported(
                    f"the decoder cannot be reset: reset_parameters() of {name} ({type(module).__name__}) leaves {key} "
                    "as it was; let it draw fresh weights in place, or take reset=False"
                )


def parts_of_decoder(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """All modules of the decoder with their names, outer ones first."""
    for place, decoder in enumerate(parts(model, "decoder")):
        for name, module in decoder.named_modules():
            yield ".".join(filter(None, ("decoder" if place == 0 else f"decoder {place + 1}", name))), module


def parts(model: Any, part: str) -> list[nn.Module]:
    """The modules of a part of the model, as it tells by `parts()` or has it in an attribute of this name.

    Raises:
        Unsupported: when there is no decoder.
    """
    modules = [module for module in sides(model).get(part, []) if isinstance(module, nn.Module)]
    if part == "decoder" and not any(True for module in modules for _ in module.parameters()):
        raise Unsupported(
            f"{type(model).__name__} has no decoder with parameters to reset; name it `decoder`, or take reset=False"
        )
    return modules


def starter(module: nn.Module) -> Any:
    """The method that gives a module fresh weights, or None; torch's attention has it under a private name."""
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def positive(what: str, value: Any) -> int:
    """The value, if it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{what} should be a positive whole number of steps, got {value!r}")
    return value
