"""What the contrastive remedies share: losses of a matrix of scores, what is compared, and the cosine score."""

import math
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.distributions import precise
from uncollapse.draw import Draw
from uncollapse.errors import BadInput
from uncollapse.functional import info_nce

__all__ = ["Compare", "Cosine", "Direction", "Kind", "Temperature", "compared", "contrast", "log_ratio", "logistic"]

Direction = Literal["x", "z", "both"]
Compare = Literal["sample", "mean"]
Kind = Literal["multisample", "binary"]
Temperature = float | Literal["raw"]


class Cosine(nn.Module):
    r"""Scores from the angle between two embeddings, $s_{ij} = \kappa\,\cos(g_i, h_j)$, in float32 or better.

    Arguments:
        temperature: $1/\kappa$; or "raw" for a trainable $\kappa$ that starts at log(1/0.07) = 2.659.
        learn: train log kappa, capped at kappa = 100 as CLIP does.
    """

    log_scale: nn.Parameter | None
    multiplier: nn.Parameter | None

    def __init__(self, temperature: Temperature = 0.07, learn: bool = False) -> None:
        super().__init__()
        raw = temperature == "raw"
        if not raw:
            positive("temperature", temperature)
        self.temperature, self.learn = temperature, learn
        start = math.log(1 / 0.07) if raw else -math.log(cast(float, temperature))
        self.cap = max(start, math.log(100.0))
        self.multiplier = nn.Parameter(torch.tensor(start)) if raw else None
        self.log_scale = nn.Parameter(torch.tensor(start)) if learn and not raw else None

    def forward(self, g: Tensor, h: Tensor) -> Tensor:
        """Scores (B, B) of embeddings g and h, (B, E) each."""
        with torch.autocast(g.device.type, enabled=False):
            return self.kappa() * F.normalize(precise(g), dim=1) @ F.normalize(precise(h), dim=1).T

    def left(self, g: Tensor) -> Tensor:
        """Queries (B, E + 1) for `naming`: their product with `right` is `forward`."""
        with torch.autocast(g.device.type, enabled=False):
            return F.pad(self.kappa() * F.normalize(precise(g), dim=1), (0, 1), value=1.0)

    def right(self, h: Tensor) -> Tensor:
        """Candidates (E + 1, B) for `naming`."""
        with torch.autocast(h.device.type, enabled=False):
            return F.pad(F.normalize(precise(h), dim=1), (0, 1)).T

    def kappa(self) -> Tensor | float:
        """The factor in front of the cosine."""
        if self.multiplier is not None:
            return self.multiplier
        return 1 / cast(float, self.temperature) if self.log_scale is None else self.log_scale.exp()

    def limit(self) -> None:
        """Keep a trained scale under its cap."""
        if self.log_scale is not None:
            self.log_scale.clamp_(max=self.cap)

    def ceiling(self, batch: int) -> float:
        r"""The best bound of B pairs of unit vectors; log B where kappa is trained.

        $\log B - \log(1 + (B-1)\,e^{-\kappa B/(B-1)})$, reached where the embeddings form a simplex.
        """
        if batch < 2 or self.multiplier is not None or self.log_scale is not None:
            return math.log(batch)
        others = math.log(batch - 1) - batch / (batch - 1) / cast(float, self.temperature)
        return math.log(batch) - math.log1p(math.exp(others))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"temperature={self.temperature!r}, learn={self.learn}"


def contrast(scores: Tensor, direction: Direction, kind: Kind = "multisample") -> Tensor:
    """Loss (B,) of scores (B, B) whose row i belongs to z_i and whose column j to x_j."""
    if kind == "binary":
        return logistic(scores, direction)
    if direction == "x":
        return info_nce(scores)
    if direction == "z":
        return info_nce(scores.T)
    return 0.5 * (info_nce(scores) + info_nce(scores.T))


def logistic(scores: Tensor, direction: Direction = "x") -> Tensor:
    r"""Logistic loss of telling true pairs from pairs that were put together.

    $L_i = -\log\sigma(s_{ii}) - \frac{1}{K-1}\sum_{j \ne i} \log\sigma(-s_{ij})$. At best $s = \log r$, the log density
    ratio of the joint to the product of its marginals, and the mean is
    $2\log 2 - 2\,\mathrm{JS}(\text{joint}, \text{product})$: 1.386 without information, 0 at most of it. The mutual
    information is at least 2 JS, and so at least 1.386 minus the loss.

    Arguments:
        scores: (B, K), K >= B and K >= 2; the partner of row i is column i, the other columns are negatives.
        direction: who is charged for a wrong pair (i, j): "x" the example i of its z, "z" the example j of its x,
            which needs K = B, "both" each for one half. The mean is the same.

    Returns:
        (B,) nats, at least 0.

    References:
        Gutmann, Hyvarinen, 2010, https://proceedings.mlr.press/v9/gutmann10a.html, theorem 1;
        Hjelm et al., 2019, https://arxiv.org/abs/1808.06670, eq. 4.

    Example:
        >>> logistic(torch.zeros(2, 4))
        tensor([1.3863, 1.3863])
    """
    with torch.autocast(scores.device.type, enabled=False):
        scores = precise(scores)
        wrong = F.softplus(scores)
        sums = {"x": [wrong.sum(1)], "z": [wrong.sum(0)], "both": [wrong.sum(1), wrong.sum(0)]}[direction]
        others = sum(sums) / len(sums) - wrong.diagonal()
        return F.softplus(-scores.diagonal()) + others / (scores.shape[1] - 1)


def log_ratio(scores: Tensor, kind: Kind) -> Tensor:
    r"""What a critic says of $\log\frac{p(x,z)}{p(x)p(z)}$ at its B true pairs, (B,) nats.

    A binary critic's score is its answer; a multisample critic's scores have an arbitrary offset for every z, so the
    mean over its K candidates stands in for it, and the answer cannot exceed log K.

    References:
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, section 2.
    """
    return scores.diagonal() if kind == "binary" else math.log(scores.shape[1]) - info_nce(scores)


def compared(draw: Draw, compare: Compare, user: str) -> Tensor:
    """What is compared, (K, B, D); there is one mean, whatever K."""
    if draw.z.shape[1] < 2:
        raise BadInput(
            f"{user} tells the examples of a batch apart, so it needs at least two, got one; raise batch_size"
        )
    return draw.z if compare == "sample" else draw.q.mean.unsqueeze(0)


def head(into: int, hidden: int, out: int) -> nn.Sequential:
    """Two linear layers with a ReLU between them."""
    return nn.Sequential(nn.Linear(into, hidden), nn.ReLU(), nn.Linear(hidden, out))


def layers(critic: nn.Module) -> str:
    """The sizes of a critic's linear layers, as text."""
    sizes = [f"{one.in_features}x{one.out_features}" for one in critic.modules() if isinstance(one, nn.Linear)]
    return f"layers={','.join(sizes)}"


def widths(user: str, **given: Any) -> None:
    """Check that sizes are positive whole numbers."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadInput(f"{name} of {user} should be a positive whole number, got {value!r}")


def positive(what: str, value: Any) -> float:
    """The value as a float, if it is positive and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadInput(f"{what} should be a positive number, got {value!r}")
    return float(value)
