"""A decoder that can be run backwards: affine couplings on z with zeros behind it."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.mlp import layers as affine
from uncollapse.nets.shapes import check_latent, check_shape, check_widths, numel, whole

__all__ = ["FlowDecoder"]

STEEPEST = {"gelu": 1.13, "silu": 1.1}  #: largest slope of an activation, where it is above 1


class FlowDecoder(nn.Module):
    r"""Invertible decoder: no two z share logits or means, whatever the weights are.

    $D = g \circ c_L \circ \dots \circ c_1 \circ \iota$: $\iota$ puts zeros behind z up to the size N of an
    observation; the coupling $c_l$ keeps one half a of the numbers (every other one, in turn) and moves the other half,
    $b \mapsto b\, e^{s(a)} + t(a)$, with $s = r \tanh(\cdot)$; g is a learned scale, within $e^{\pm r}$, and shift of
    every number. Every step has an inverse, so D is injective; `inverse` finds z again.

    Meant for data of low dimension: hidden layers are fully connected.

    Arguments:
        shape: shape X of one observation; it has at least two numbers, and at least D.
        latent: D.
        couplings: L, at least 2, so that every number is moved.
        hidden: widths of the hidden layers of every coupling.
        reach: r, the largest logarithm of a scale.
        activation: as for `MLPDecoder`; smooth, so that the Jacobian is continuous.

    Raises:
        ShapeError: when an observation holds fewer numbers than z.
        BadInput: when settings make no sense.

    References:
        Dinh, Sohl-Dickstein, Bengio, 2017, https://arxiv.org/abs/1605.08803, for affine couplings.

    Example:
        >>> decoder, z = FlowDecoder((6,), latent=2), torch.randn(3, 2)
        >>> torch.allclose(decoder.inverse(decoder(z)), z, atol=1e-5)
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        couplings: int = 4,
        hidden: Sequence[int] = (64, 64),
        reach: float = 2.0,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.shape, self.latent = check_shape(shape, "FlowDecoder"), check_latent(latent)
        size = numel(self.shape)
        if size < max(latent, 2):
            raise ShapeError(f"FlowDecoder needs observations of at least {max(latent, 2)} numbers, got {self.shape}")
        if not whole(couplings) or couplings < 2:
            raise BadInput(f"couplings should be a whole number of at least 2, got {couplings!r}")
        if isinstance(reach, bool) or not isinstance(reach, int | float) or not 0 < reach < math.inf:
            raise BadInput(f"reach should be a positive number, got {reach!r}")
        widths = check_widths(hidden, "hidden")
        self.couplings = nn.ModuleList(
            Coupling(size, place % 2, widths, float(reach), activation) for place in range(couplings)
        )
        self.reach = float(reach)
        self.scale, self.shift = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        h = F.pad(z, (0, len(self.scale) - self.latent))
        for coupling in self.couplings:
            h = coupling(h)
        return (h * self.scales() + self.shift).reshape(-1, *self.shape)

    def inverse(self, y: Tensor) -> Tensor:
        """z (B, D) of logits or means (B, *X); of others, the z of the whole flow without what its zeros became."""
        h = (y.reshape(-1, len(self.scale)) - self.shift) / self.scales()
        for coupling in reversed(self.couplings):
            h = cast(Coupling, coupling).inverse(h)
        return h[:, : self.latent]

    def scales(self) -> Tensor:
        """The last scale of every number (N,)."""
        return (self.reach * self.scale.tanh()).exp()

    @torch.no_grad()
    def expansion(self, radius: float = 4.0) -> float:
        r"""What $\lVert D(z) - D(z')\rVert / \lVert z - z'\rVert$ is at least, for |z|, |z'| up to a radius.

        One over a Lipschitz constant of the inverse, from spectral norms of the weights: a proof, not an estimate, and
        so far below the smallest singular value where the weights are large.
        """
        slowest, reached = 1.0, float(radius)
        for coupling in self.couplings:
            steepest, reached = cast(Coupling, coupling).worst(reached)
            slowest /= steepest
        return slowest * float(self.scales().min())


class Coupling(nn.Module):
    """One affine coupling of N numbers.

    Arguments:
        size: N.
        kept: 0 to keep the numbers at even places, 1 for the odd ones.
        hidden, reach, activation: as for `FlowDecoder`.
    """

    def __init__(self, size: int, kept: int, hidden: list[int], reach: float, activation: str) -> None:
        super().__init__()
        self.kept, self.reach = kept, reach
        self.into = into = (size + 1 - kept) // 2
        self.slope = STEEPEST.get(activation, 1.0)
        order = torch.cat([torch.arange(kept, size, 2), torch.arange(1 - kept, size, 2)]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.body = nn.Sequential(*affine([into, *hidden], activation))
        self.head = nn.Linear(hidden[-1] if hidden else into, 2 * (size - into))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Small weights in the last layer: the flow begins near the identity."""
        self.head.weight.mul_(0.1)
        self.head.bias.zero_()

    def parameters_of(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift of the other half, for the half that is kept."""
        scale, shift = self.head(self.body(kept)).chunk(2, 1)
        return self.reach * scale.tanh(), shift

    def forward(self, h: Tensor) -> Tensor:
        """(B, N) to (B, N)."""
        kept, moved = h[:, self.kept :: 2], h[:, 1 - self.kept :: 2]
        scale, shift = self.parameters_of(kept)
        return self.join(kept, moved * scale.exp() + shift)

    def inverse(self, h: Tensor) -> Tensor:
        """(B, N) to (B, N), back."""
        kept, moved = h[:, self.kept :: 2], h[:, 1 - self.kept :: 2]
        scale, shift = self.parameters_of(kept)
        return self.join(kept, (moved - shift) * (-scale).exp())

    def join(self, kept: Tensor, moved: Tensor) -> Tensor:
        """Both halves in their places."""
        return torch.cat([kept, moved], 1)[:, cast(Tensor, self.order)]

    def worst(self, radius: float) -> tuple[float, float]:
        """A Lipschitz constant of the inverse on what the ball of a radius becomes, and a radius of a ball round that.

        On outputs of norm R the shift is at most |t(0)| + T R, and the moved half was at most
        m = e^r (R + |t(0)| + T R) before; so the inverse's block below the diagonal is at most e^r T + m S, T and S
        being Lipschitz constants of shift and log-scale.
        """
        inner = math.prod(self.slope * spectral(part.weight) for part in self.body if isinstance(part, nn.Linear))
        of_scale, of_shift = (inner * spectral(part) for part in self.head.weight.chunk(2))
        start = float(self.parameters_of(self.head.weight.new_zeros(1, self.into))[1].norm())
        stretch = math.exp(self.reach)
        reached = math.hypot(radius, stretch * radius + start + of_shift * radius)
        moved = stretch * (reached + start + of_shift * reached)
        corner = stretch * of_shift + moved * self.reach * of_scale
        return math.sqrt(1 + corner**2 + stretch**2), reached


def spectral(weight: Tensor) -> float:
    """The largest singular value."""
    return float(torch.linalg.matrix_norm(weight.double(), 2))
