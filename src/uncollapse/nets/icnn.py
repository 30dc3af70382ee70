"""Input-convex networks, and their gradients as tensor operations."""

import math
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.errors import BadInput
from uncollapse.nets.shapes import whole

__all__ = ["ICNN", "Bend", "Positivity", "check_network", "one_of"]

Positivity = Literal["softplus", "exp", "clamp"]
Bend = Literal["softplus", "leaky_relu"]
SLOPE = 0.2  #: of the leaky activations, as in the paper
LEAST = 1e-2  #: what "clamp" lets a weight fall to, before it is divided by the fan-in


class ICNN(nn.Module):
    r"""Input-convex network: a scalar that is strictly convex in z, and its gradient in closed form.

    $\psi(z) = h_k + \tfrac{c}{2}\lVert z\rVert^2$, $h_0 = \ell(A_0 z + b_0)^2$,
    $h_{i+1} = f(W_i h_i + A_{i+1} z + b_{i+1})$, all entries of $W_i$ positive, $h_k$ one number; $\ell$ is the
    leaky ReLU with slope 0.2.

    f is $\ell$ in the paper, which makes the gradient of $\psi$ jump where a unit bends: a reparametrised gradient
    does not see the jumps, and the biases above the first layer, which only place them, stay as they are. The default
    is its smooth version $0.2 a + 0.8 \log(1 + e^a)$, as convex and as increasing: the gradient is continuous.

    The gradient is written out as tensor operations, so it works without autograd, under autocast and in double
    backward passes, at the price of two passes of the network.

    Arguments:
        inputs: size of z.
        hidden: width H. Without the quadratic term it should be at least the dimension of the z that occur.
        layers: k, at least 1; k - 1 of them have H units, the last has one.
        convexity: c, at least 0.
        weights: how entries of W stay positive: "softplus" or "exp" of a parameter, or "clamp" at 0.01, below which
            an entry gets no gradient any more. They are divided by the fan-in.
        activation: f: "softplus" for the smooth one, "leaky_relu" as in the paper.
        typical: |z|² at which the second layer bends at the start; the size of z if None.

    Raises:
        BadInput: when an argument makes no sense.

    References:
        Amos, Xu, Kolter, 2017, https://arxiv.org/abs/1609.07152;
        Wang, Blei, Cunningham, 2021, https://arxiv.org/abs/2301.00537, for the squared first layer.

    Example:
        >>> psi, z = ICNN(4, hidden=16), torch.randn(3, 4, requires_grad=True)
        >>> automatic = torch.autograd.grad(psi(z).sum(), z)[0]
        >>> torch.allclose(psi.gradient(z), automatic, atol=1e-5)
        True
    """

    def __init__(
        self,
        inputs: int,
        hidden: int = 512,
        layers: int = 2,
        convexity: float = 0.0,
        weights: Positivity = "softplus",
        activation: Bend = "softplus",
        typical: float | None = None,
    ) -> None:
        super().__init__()
        check_network(hidden, layers, convexity)
        self.convexity = float(convexity)
        self.activation = one_of("activation", activation, Bend)
        self.typical = float(inputs if typical is None else typical)
        widths = [hidden] * layers + [1]
        self.first = nn.Linear(inputs, hidden)
        self.passes = nn.ModuleList(nn.Linear(inputs, out) for out in widths[1:])
        self.mixes = nn.ModuleList(Positive(a, b, weights) for a, b in pairwise(widths))
        if activation == "leaky_relu":
            for affine in self.passes:  # the gradient of psi depends on them in jumps alone
                cast(nn.Linear, affine).bias.requires_grad_(False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the layers up, which hold fresh weights of their own kind, so that they make one potential."""
        # entries of variance 1 make the Hessian about the identity at the start: see `Positive` for the 1 / fan-in
        self.first.weight.normal_()
        self.first.bias.normal_()
        if len(self.passes) > 1:  # units that bend at the same place would be one unit
            cast(nn.Linear, self.passes[0]).bias.uniform_(-self.typical, 0)

    def forward(self, z: Tensor) -> Tensor:
        """The potential (B,) of z (B, D)."""
        h, _ = self.climb(z)
        return h.squeeze(1) + 0.5 * self.convexity * z.square().sum(1)

    def gradient(self, z: Tensor) -> Tensor:
        """Its gradient (B, D) in z (B, D): strictly monotone, so no two z share a value."""
        _, slopes = self.climb(z)
        push, total = slopes.pop(), self.convexity * z
        for affine, mix in zip(reversed(self.passes), reversed(self.mixes), strict=True):
            total = total + push @ cast(nn.Linear, affine).weight
            push = (push @ cast(Positive, mix)()) * slopes.pop()
        return total + push @ self.first.weight

    def climb(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last layer (B, 1), and every layer's slope (B, H) in what goes into its activation."""
        a = self.first(z)
        h = F.leaky_relu(a, SLOPE).square()
        slopes = [2 * F.leaky_relu(a, SLOPE**2)]
        for affine, mix in zip(self.passes, self.mixes, strict=True):
            a = F.linear(h, cast(Positive, mix)()) + affine(z)
            h, slope = self.bend(a)
            slopes.append(slope)
        return h, slopes

    def bend(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The activation f and its slope."""
        if self.activation == "softplus":
            return SLOPE * a + (1 - SLOPE) * F.softplus(a), SLOPE + (1 - SLOPE) * a.sigmoid()
        return F.leaky_relu(a, SLOPE), torch.where(a > 0, 1.0, SLOPE).to(a.dtype)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"convexity={self.convexity:g}, activation={self.activation!r}"


class Positive(nn.Module):
    """A matrix (out, into) of positive entries of about 1 / into.

    Arguments:
        into, out: sizes.
        kind: "softplus", "exp" or "clamp".
    """

    def __init__(self, into: int, out: int, kind: Positivity) -> None:
        super().__init__()
        self.kind = one_of("weights", kind, Positivity)
        self.raw = nn.Parameter(torch.empty(out, into))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh entries, between 0.5 and 1.5 over the fan-in whatever the kind."""
        self.raw.uniform_(0.5, 1.5)
        if self.kind != "clamp":
            self.raw.copy_(self.raw.expm1().log() if self.kind == "softplus" else self.raw.log())

    def forward(self) -> Tensor:
        """The matrix."""
        if self.kind == "softplus":
            positive = F.softplus(self.raw)
        else:
            positive = self.raw.exp() if self.kind == "exp" else self.raw.clamp(min=LEAST)
        return positive / self.raw.shape[1]

    def extra_repr(self) -> str:
        """Shown by `print`."""
        out, into = self.raw.shape
        return f"{into}, {out}, {self.kind!r}"


def one_of(what: str, value: Any, choices: Any) -> Any:
    """The value, if it is one of a Literal's."""
    if value not in get_args(choices):
        raise BadInput(f"{what} should be one of {', '.join(get_args(choices))}, got {value!r}")
    return value


def check_network(hidden: Any, layers: Any, convexity: Any, name: str = "convexity") -> None:
    """Refuse sizes that are none, and a convexity that is negative or not finite."""
    if not whole(hidden) or not whole(layers):
        raise BadInput(f"hidden and layers should be positive whole numbers, got {hidden!r} and {layers!r}")
    number = isinstance(convexity, int | float) and not isinstance(convexity, bool)
    if not number or not 0 <= convexity < math.inf:
        raise BadInput(f"{name} should be a finite number of at least 0, got {convexity!r}")
