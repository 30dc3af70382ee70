"""Pure tensor mathematics that remedies and metrics share.

Symbols: B, M batch sizes; D latent dimension; K candidates. Everything is in nats.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from uncollapse.errors import ShapeError

__all__ = [
    "GaussianColumns",
    "gaussian_columns",
    "gaussian_kl",
    "info_nce",
    "log_mean_exp",
    "pairwise_log_prob",
]

LOG_2PI = math.log(2 * math.pi)
LOOSE = 1e12  #: sum of absolute terms of a product in float64 beyond which it is off by 1e-4 nats
ELEMENTS = 2**20  #: numbers that densities by differences hold at once
LOG2E = math.log2(math.e)  #: bits per nat: powers of two take less than half the time of those of e


def log_mean_exp(x: Tensor, dim: int = -1) -> Tensor:
    r"""Logarithm of the mean of exponentials, without overflow.

    $\log \frac1K \sum_k e^{x_k}$

    Arguments:
        x: any shape, nats.
        dim: the dimension of size K that is averaged away.

    Example:
        >>> log_mean_exp(torch.tensor([1000.0, 1000.0])).item()
        1000.0
    """
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def pairwise_log_prob(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Log density of every point under every diagonal Gaussian, from one matrix product.

    $M_{ij} = \log \mathcal N(z_i; \mu_j, \operatorname{diag} \sigma_j^2)
    = [z_i^2, z_i] \cdot [-\tfrac12\sigma_j^{-2}, \sigma_j^{-2}\mu_j] + c_j$

    The product runs in float64 and outside autocast, because its terms cancel: at scales of 1e-3 the
    float32 form is off by whole nats. The common shift by the mean of the means keeps the terms small. Where even
    float64 would be off by more than 1e-4 nats (scales a millionth of the distances), differences take its place.

    Arguments:
        z: (B, D) points.
        mean: (M, D) means.
        scale: (M, D) standard deviations, positive.

    Returns:
        (B, M) nats, in the dtype of `z` (at least float32).

    Raises:
        ShapeError: when D differs or `mean` and `scale` do not match.

    Example:
        >>> z = torch.zeros(1, 2)
        >>> pairwise_log_prob(z, torch.zeros(3, 2), torch.ones(3, 2))
        tensor([[-1.8379, -1.8379, -1.8379]])
    """
    if z.ndim != 2 or mean.ndim != 2 or mean.shape != scale.shape or z.shape[1] != mean.shape[1]:
        raise ShapeError(
            "pairwise_log_prob expects z (B, D), mean (M, D) and scale (M, D), "
            f"got {tuple(z.shape)}, {tuple(mean.shape)} and {tuple(scale.shape)}"
        )
    out = torch.promote_types(z.dtype, torch.float32)
    columns = gaussian_columns(mean, scale)
    if columns.tight(z):
        return differences(z, mean, scale).to(out)
    with torch.autocast(z.device.type, enabled=False):
        product: Tensor = ExactProduct.apply(columns.left(z), columns.right, out)  # type: ignore[no-untyped-call]
    return product


def differences(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """The same from differences, some points at a time, which a backward pass computes anew, (B, M) in float64."""

    def part(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        distance = ((z.unsqueeze(1) - mean) / scale).square().sum(2)
        return -0.5 * (distance + mean.shape[1] * LOG_2PI) - scale.log().sum(1)

    with torch.autocast(z.device.type, enabled=False):
        z, mean, scale = z.double(), mean.double(), scale.double()
        rows = torch.split(z, max(1, ELEMENTS // mean.numel()))
        return torch.cat([checkpoint(part, some, mean, scale, use_reentrant=False) for some in rows])


class ExactProduct(torch.autograd.Function):
    """left @ right, computed in the type of its factors and kept in the type `out`.

    Both passes go through blocks of rows, so that float64 numbers stay in the processor's cache. The gradient of
    `right` (scales) cancels like the values and is summed in float64; that of `left` (points) cancels only by
    (point / scale) and is summed in `out`: off by 1e-4 of itself at scales of 1e-3.
    """

    @staticmethod
    def forward(left: Tensor, right: Tensor, out: torch.dtype) -> Tensor:
        """(B, F) and (F, M) give (B, M)."""
        product = torch.empty(len(left), right.shape[1], dtype=out, device=left.device)
        for part, rows in zip(product.tensor_split(blocks(left)), left.tensor_split(blocks(left)), strict=True):
            part.copy_(rows @ right)
        return product

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, torch.dtype], output: Tensor) -> None:
        """Keep the factors."""
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of both factors."""
        left, right = ctx.saved_tensors
        theirs = torch.zeros_like(right)
        for part, rows in zip(slope.tensor_split(blocks(left)), left.tensor_split(blocks(left)), strict=True):
            theirs.addmm_(rows.T, part.to(right.dtype))
        return (slope @ right.to(slope.dtype).T).to(left.dtype), theirs, None


def blocks(rows: Tensor, size: int = 128) -> int:
    """How many blocks of about `size` rows there are."""
    return max(-(-len(rows) // size), 1)


class GaussianColumns(NamedTuple):
    """The right-hand side of `pairwise_log_prob`, to be used for many chunks of points.

    Attributes:
        shift: (D,), the mean of the means.
        right: (2D + 1, M), what the points are multiplied by.
    """

    shift: Tensor
    right: Tensor

    def left(self, z: Tensor) -> Tensor:
        """The left-hand side [z², z, 1] of points (B, D), (B, 2D + 1): its product with `right` is `log_prob`."""
        z = z.to(self.shift.dtype) - self.shift
        return torch.cat([z.square(), z, z.new_ones(len(z), 1)], 1)

    def tight(self, z: Tensor) -> bool:
        """Whether products of points (B, D) are off by 1e-4 nats or more; a compiler cannot ask, nor MPS do better."""
        if torch.compiler.is_compiling() or z.device.type == "mps" or not z.numel() or not self.right.numel():
            return False
        with torch.no_grad():
            precision = self.right[: len(self.shift)].amin(1)  # times -1/2
            reach = (z.to(self.shift.dtype) - self.shift).square().amax(0)
            return not float(reach @ precision) > -LOOSE

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of points (B, D) under every Gaussian, (B, M) nats, in float64."""
        with torch.autocast(z.device.type, enabled=False):
            return self.left(z) @ self.right


def gaussian_columns(mean: Tensor, scale: Tensor, shift: Tensor | None = None) -> GaussianColumns:
    """Prepare M diagonal Gaussians, means and standard deviations (M, D), for `GaussianColumns.log_prob`.

    A `shift` (D,) takes the place of the mean of the means, so that parts of a larger set agree.

    Example:
        >>> gaussian_columns(torch.zeros(3, 2), torch.ones(3, 2)).log_prob(torch.zeros(1, 2)).shape
        torch.Size([1, 3])
    """
    exact = torch.float32 if mean.device.type == "mps" else torch.float64  # MPS has no float64
    with torch.autocast(mean.device.type, enabled=False):
        mean, scale = mean.to(exact), scale.to(exact)
        shift = mean.detach().mean(0) if shift is None else shift.to(exact)
        mean = mean - shift
        precision = scale.square().reciprocal()  # a power takes eight times as long
        constant = -0.5 * ((precision * mean.square()).sum(1) + mean.shape[1] * LOG_2PI) - scale.log().sum(1)
        return GaussianColumns(shift, torch.cat([-0.5 * precision, precision * mean, constant[:, None]], 1).T)


def info_nce(scores: Tensor) -> Tensor:
    r"""Cross-entropy of naming the own partner among K candidates (InfoNCE).

    $\mathrm{CE}_i = -\log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}$; then $\log K - \overline{\mathrm{CE}}$
    bounds the mutual information from below and never exceeds $\log K$.

    Arguments:
        scores: (B, K), K >= B; row i is a query, column i its partner, the other columns are negatives.

    Returns:
        (B,) nats, at least 0.

    Raises:
        ShapeError: when there are fewer candidates than queries.

    References:
        van den Oord, Li, Vinyals, 2018, https://arxiv.org/abs/1807.03748, eq. 4;
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, eq. 10.

    Example:
        >>> info_nce(torch.zeros(2, 4))
        tensor([1.3863, 1.3863])
    """
    if scores.ndim != 2 or scores.shape[0] > scores.shape[1]:
        raise ShapeError(f"info_nce expects scores (B, K) with K >= B, got {tuple(scores.shape)}")
    with torch.autocast(scores.device.type, enabled=False):
        losses: Tensor = DiagonalLoss.apply(  # type: ignore[no-untyped-call]
            scores.to(torch.promote_types(scores.dtype, torch.float32))
        )
    return losses


NOTHING = 60.0  #: nats below the best candidate at which a share counts as 0


class DiagonalLoss(torch.autograd.Function):
    """Cross-entropy whose targets are the diagonal, with one exponential for both passes.

    Shares under exp(-60) are exact zeros. As subnormal numbers they would be as harmless to the result, but a
    processor takes many times as long over each, here and in the products of the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        """(B, K) scores give (B,) losses. Blocks of rows stay in the processor's cache from pass to pass."""
        shares, losses = scores.new_empty(scores.shape), []
        parts = blocks(scores)
        split = (whole.tensor_split(parts) for whole in (shares, scores, scores.diagonal()))
        for out, rows, own in zip(*split, strict=True):
            best = rows.amax(1, keepdim=True)
            torch.sub(rows, best, out=out).mul_(LOG2E)
            total = torch.threshold_(out, -NOTHING * LOG2E, -torch.inf).exp2_().sum(1, keepdim=True)
            out.div_(total)
            losses.append(best.squeeze(1) - own + total.squeeze(1).log())  # large scores cancel first
        ctx.save_for_backward(shares)
        return torch.cat(losses)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        """softmax - identity, row by row."""
        (shares,) = ctx.saved_tensors
        gradient: Tensor = shares * slope.unsqueeze(1)
        gradient.diagonal().sub_(slope)
        return gradient


def gaussian_kl(mean: Tensor, scale: Tensor) -> Tensor:
    r"""Divergence of a Gaussian from the standard normal, element by element.

    $\mathrm{KL} = \tfrac12(\mu^2 + \sigma^2 - 1) - \log\sigma$

    Arguments:
        mean, scale: any equal shape; `scale` is a standard deviation.

    Returns:
        The same shape, nats.

    Example:
        >>> gaussian_kl(torch.tensor(4.0), torch.tensor(1.0)).item()
        8.0
    """
    return 0.5 * (mean.square() + scale.square() - 1) - scale.log()
