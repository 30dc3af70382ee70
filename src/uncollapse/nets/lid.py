"""Decoders that cannot lose z: gradients of input-convex networks are injective."""

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.distributions import precise
from uncollapse.errors import BadInput
from uncollapse.nets.autoregressive import Autoregressive
from uncollapse.nets.icnn import ICNN, Bend, Positivity, check_network, one_of
from uncollapse.nets.pixelcnn import PixelCNN
from uncollapse.nets.shapes import check_latent, check_shape, numel

__all__ = ["LID", "LIDPixelCNN"]

Matrix = Literal["trained", "identity"]


class LID(nn.Module):
    r"""Latent-identifiable decoder: an injective map from z to logits or means.

    $D(z) = \nabla\psi_2\big(M\, \nabla\psi_1(z)\big)$, both $\psi_i$ strictly convex (`ICNN`), M (X, D) of full
    column rank. Its inverse-Lipschitz form adds $\tfrac{L}{2}\lVert\cdot\rVert^2$ to both potentials, so that
    $\lVert D(z) - D(z')\rVert \ge L^2\, \sigma_{\min}(M)\, \lVert z - z'\rVert$.

    Arguments:
        shape: shape X of one observation; it has at least D numbers.
        latent: D.
        hidden: width of both potentials, at least D if L is 0.
        layers: layers of both potentials.
        inverse_lipschitz: L; 0 for the plain form, which is injective but may come as close to flat as it likes.
        matrix: "trained" for $M = Q \operatorname{diag}(s)$ with orthonormal columns Q, or "identity" for zeros below
            the identity. With "identity" the first D observed numbers have to follow z; in pictures they are border.
        singular: the smallest and the largest s of a trained M.
        weights, activation: as for `ICNN`.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Wang, Blei, Cunningham, 2021, https://arxiv.org/abs/2301.00537;
        Kinoshita, Oono, Fukumizu, Yoshida, Maeda, 2023, https://arxiv.org/abs/2304.12770, for L.

    Example:
        >>> decoder = LID((1, 8, 8), latent=4, hidden=32, inverse_lipschitz=1.0)
        >>> z = torch.randn(2, 4)
        >>> a, b = decoder(z)
        >>> bool((a - b).norm() >= decoder.expansion() * (z[0] - z[1]).norm())
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        hidden: int = 512,
        layers: int = 2,
        inverse_lipschitz: float = 0.0,
        matrix: Matrix = "trained",
        singular: Sequence[float] = (0.1, 10.0),
        weights: Positivity = "softplus",
        activation: Bend = "softplus",
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape, "LID")
        check_network(hidden, layers, inverse_lipschitz, "inverse_lipschitz")
        least = numel(self.shape) if inverse_lipschitz else min(hidden, numel(self.shape))
        if least < check_latent(latent):
            raise BadInput(
                f"LID is injective only if an observation has at least latent={latent} numbers and, without "
                f"inverse_lipschitz, hidden is at least as large; got {numel(self.shape)} and {hidden}"
            )
        settings: Any = {"hidden": hidden, "layers": layers, "convexity": inverse_lipschitz}
        settings |= {"weights": weights, "activation": activation, "typical": latent}
        self.inner = ICNN(latent, **settings)
        self.lift = Lift(numel(self.shape), latent, matrix, singular)
        self.outer = ICNN(numel(self.shape), **settings)

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        return self.outer.gradient(self.lift(self.inner.gradient(z))).reshape(-1, *self.shape)

    def expansion(self) -> float:
        r"""What $\lVert D(z) - D(z')\rVert / \lVert z - z'\rVert$ is at least: $L^2 \sigma_{\min}(M)$."""
        return self.inner.convexity * self.outer.convexity * self.lift.smallest()


class LIDPixelCNN(nn.Module):
    r"""A PixelCNN that learns of z through an injective map alone, which is added to its logits.

    $\operatorname{logit} p(x_i = 1 \mid x_{<i}, z) = s_i(x_{<i}) + D(z)_i$, s the masked network without z, D a `LID`.

    An injective map of z ahead of a network that may ignore its result proves nothing, and one logit a pixel cannot
    be injective in z by itself. This sum is: for every image x the logits of two z lie at least
    $L^2 \sigma_{\min}(M) \lVert z - z'\rVert$ apart. The price is that z cannot change how pixels depend on each other.

    Arguments:
        shape: (channels, height, width).
        latent: D.
        hidden, inverse_lipschitz, singular: of the `LID`, L being `inverse_lipschitz`.
        channels, kernels, bottleneck, activation, norm, skip: as for `PixelCNN`.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    References:
        Wang, Blei, Cunningham, 2021, https://arxiv.org/abs/2301.00537, whose text model ends in such a head.

    Example:
        >>> decoder = LIDPixelCNN((1, 8, 8), latent=4, kernels=(7, 3), channels=8, bottleneck=4)
        >>> decoder(torch.zeros(3, 4)).log_prob(torch.ones(3, 1, 8, 8)).shape
        torch.Size([3])
    """

    later = ("network", "shift")  #: what its likelihood passes

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        hidden: int = 128,
        inverse_lipschitz: float = 1.0,
        singular: Sequence[float] = (1.0, 10.0),
        channels: int = 64,
        kernels: Sequence[int] = (7, 7, 7, 5, 5, 3, 3),
        bottleneck: int = 32,
        activation: str = "elu",
        norm: str = "none",
        skip: int = 0,
    ) -> None:
        super().__init__()
        plain = PixelCNN(shape, latent, channels, kernels, bottleneck, 1, activation, norm, skip)
        self.shape = plain.shape
        self.network = Shifted(plain.network, channels)
        self.shift = LID(shape, latent, hidden, inverse_lipschitz=inverse_lipschitz, singular=singular)

    def forward(self, z: Tensor) -> Autoregressive:
        """p(x|z) for z (B, D): batch (B,), event (C, H, W)."""
        return Autoregressive(self.network, self.shift(z), self.shape)

    def expansion(self) -> float:
        r"""How far the logits of two z are apart at least, for every x, as a share of $\lVert z - z'\rVert$."""
        return self.shift.expansion()


class Shifted(nn.Module):
    """A masked network without context: images (B, C, h, W) and what is added to their logits, of the same shape."""

    steps = True  #: as its stack

    def __init__(self, stack: nn.Module, channels: int) -> None:
        super().__init__()
        self.stack, self.channels = stack, channels

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        """Logits of every pixel given the pixels before it."""
        return cast(Tensor, self.stack(x, x.new_zeros(1, self.channels, 1, 1))) + shift


class Lift(nn.Module):
    r"""The matrix M (X, D) of full column rank between the two gradients.

    Trained, it is $Q \operatorname{diag}(s)$: Q the orthonormal columns of a free matrix, s between two bounds, 1 at
    the start. A rotation on the right is left out, because the prior is the same after it.

    Arguments:
        out, into: X and D.
        kind: "trained", or "identity" for the first D columns of the identity.
        singular: the smallest and the largest s.
    """

    def __init__(self, out: int, into: int, kind: Matrix, singular: Sequence[float]) -> None:
        super().__init__()
        self.kind = one_of("matrix", kind, Matrix)
        self.out = out
        self.low, self.high = check_bounds(singular)
        if kind == "trained":
            self.free, self.scale = nn.Parameter(torch.empty(out, into)), nn.Parameter(torch.empty(into))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh columns; singular values as near 1 as their bounds allow."""
        if self.kind == "trained":
            nn.init.orthogonal_(self.free)
            share = min(max(-math.log(self.low) / math.log(self.high / self.low), 0.1), 0.9)
            self.scale.fill_(math.log(share / (1 - share)))

    def forward(self, u: Tensor) -> Tensor:
        """M u (B, X) for u (B, D), in the precision of the parameters also under autocast: the bound hangs on it."""
        if self.kind == "identity":
            return F.pad(u, (0, self.out - u.shape[1]))
        with torch.autocast(u.device.type, enabled=False):
            return F.linear(u.to(self.free.dtype), self.matrix())

    def matrix(self) -> Tensor:
        """M, (X, D)."""
        q, r = torch.linalg.qr(precise(self.free))
        # without the signs Q would jump where a diagonal entry of R changes its own
        found: Tensor = q * r.diagonal().sign() * self.values()
        return found.to(self.free.dtype)

    def values(self) -> Tensor:
        """The singular values (D,)."""
        return self.low * (math.log(self.high / self.low) * self.scale.sigmoid()).exp()

    @torch.no_grad()
    def smallest(self) -> float:
        """The smallest singular value."""
        return 1.0 if self.kind == "identity" else float(self.values().min())

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return repr(self.kind) if self.kind == "identity" else f"{self.kind!r}, singular=({self.low:g}, {self.high:g})"


def check_bounds(singular: Any) -> tuple[float, float]:
    """The smallest and the largest singular value."""
    pair = tuple(singular) if isinstance(singular, Sequence) and not isinstance(singular, str) else ()
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in pair)
    if len(pair) != 2 or not numbers or not 0 < pair[0] < pair[1] < math.inf:
        raise BadInput(f"singular should be two numbers 0 < smallest < largest, such as (0.1, 10), got {singular!r}")
    return float(pair[0]), float(pair[1])
