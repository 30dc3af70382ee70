"""Multi-layer perceptrons for vectors and, flattened, for images."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from uncollapse.nets.shapes import activation_of, check_latent, check_shape, check_widths, numel

__all__ = ["MLPDecoder", "MLPEncoder"]


class MLPEncoder(nn.Module):
    """Fully connected encoder.

    Arguments:
        shape: shape X of one observation; it is flattened.
        latent: D.
        hidden: widths of the hidden layers; none gives a linear encoder.
        activation: "relu", "elu", "gelu", "leaky_relu", "silu", "softplus" or "tanh".
        log1p: whether log(1 + x) is read in place of x, for counts: the few large ones would rule the first layer.

    Attributes:
        trunk: module from x (B, *X) to features (B, F); a hybrid critic may share it.
        head: linear layer from features to mean and log-variance (B, 2D).
        features: F.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    Example:
        >>> MLPEncoder((1, 8, 8), latent=4)(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        hidden: Sequence[int] = (512, 512),
        activation: str = "relu",
        log1p: bool = False,
    ) -> None:
        super().__init__()
        widths = [numel(check_shape(shape, "MLPEncoder")), *check_widths(hidden, "hidden")]
        self.features = widths[-1]
        first = [nn.Flatten(), Log1p()] if log1p else [nn.Flatten()]
        self.trunk = nn.Sequential(*first, *layers(widths, activation))
        self.head = nn.Linear(self.features, 2 * check_latent(latent))

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log-variance (B, 2D) of x (B, *X)."""
        return cast(Tensor, self.head(self.trunk(x)))


class Log1p(nn.Module):
    """log(1 + x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, values above -1."""
        return x.log1p()


class MLPDecoder(nn.Module):
    """Fully connected decoder.

    Arguments:
        shape: shape X of one observation.
        latent: D.
        hidden: widths of the hidden layers; none gives a linear decoder.
        activation: as for `MLPEncoder`.

    Raises:
        ShapeError, BadInput: when an argument makes no sense.

    Example:
        >>> MLPDecoder((16,), latent=4, hidden=(8,))(torch.zeros(3, 4)).shape
        torch.Size([3, 16])
    """

    def __init__(
        self, shape: Sequence[int], latent: int, hidden: Sequence[int] = (512, 512), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape, "MLPDecoder")
        widths = [check_latent(latent), *check_widths(hidden, "hidden")]
        self.body = nn.Sequential(*layers(widths, activation))
        self.head = nn.Linear(widths[-1], numel(self.shape))

    def forward(self, z: Tensor) -> Tensor:
        """Logits or means (B, *X) for z (B, D)."""
        return cast(Tensor, self.head(self.body(z))).reshape(-1, *self.shape)


def layers(widths: Sequence[int], activation: str) -> list[nn.Module]:
    """Linear layers with an activation after each."""
    activation_of(activation)
    return [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation_of(activation))]
