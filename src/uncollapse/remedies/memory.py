r"""More candidates than the batch holds, for a critic whose score is the density of a diagonal Gaussian posterior.

A softmax over B candidates tells at most log B nats, and long before that each further nat pays less. Three ways out:

- `counted`: the negatives of the batch stand for those of a larger one. No state and no time; no lower bound either.
- `Memory`: posteriors of earlier batches are candidates too, as constants in units of their own batch.
- `draw_in_chunks`: a large batch, exactly, in the memory of a small one; it costs its time.

`docs/remedies/more-candidates.md` says what each of them reached.
"""

import math
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.utils.checkpoint import checkpoint

from uncollapse.distributions import describe, diagonal
from uncollapse.draw import Draw, Model, described, sample
from uncollapse.errors import BadInput, ShapeError
from uncollapse.functional import GaussianColumns, gaussian_columns, info_nce, pairwise_log_prob
from uncollapse.remedies.bank import Bank
from uncollapse.remedies.contrast import widths
from uncollapse.remedies.naming import naming
from uncollapse.remedies.pair_moments import exact
from uncollapse.remedies.prepared import Prepared

__all__ = ["Memory", "counted", "draw_in_chunks"]


def counted(scores: Tensor, candidates: int) -> Tensor:
    r"""Scores whose negatives stand for those of a larger batch.

    $s_{ij} + \log\frac{N-1}{K-1}$ for $j \ne i$: in a softmax, K - 1 negatives then weigh as much as N - 1 of them.
    The critic goes on to ask for information until it nears log N. As an estimate of the information it lies between
    the lower bound of K candidates (N = K) and the leave-one-out upper bound (N without end): judge it by neither.
    K candidates or more are left as they are.

    Arguments:
        scores: (B, K), nats; the partner of row i is column i, K >= B.
        candidates: N.

    Returns:
        (B, K), nats.

    Raises:
        BadInput: when N is not a whole number of at least 2.
        ShapeError: when there are fewer candidates than rows.

    References:
        Song, Ermon, 2020, https://arxiv.org/abs/2007.09852 (re-weighted CPC, their alpha is K / N);
        Poole et al., 2019, https://arxiv.org/abs/1905.06922 (the leave-one-out upper bound).

    Example:
        >>> counted(torch.zeros(2, 2), 4)
        tensor([[0.0000, 1.0986],
                [1.0986, 0.0000]])
    """
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 2:
        raise BadInput(f"candidates should be a whole number of at least 2, got {candidates!r}")
    if scores.ndim != 2 or scores.shape[0] > scores.shape[1]:
        raise ShapeError(f"counted expects scores (B, K) with K >= B, got {tuple(scores.shape)}")
    there = scores.shape[1]
    if there < 2 or candidates <= there:
        return scores
    more = scores.new_full(scores.shape, math.log((candidates - 1) / (there - 1))).fill_diagonal_(0)
    return scores + more


class Memory(nn.Module):
    r"""A self critic with posteriors of earlier batches among its candidates.

    $T_i = -\log \frac{q(z_i|x_i)}{\sum_{j \le B+Q} q(z_i|x_j)}$, $z_i \sim q(z|x_i)$; the last Q candidates are kept
    from before. Two things make that work:

    - *Own units.* With m and $s^2$ the mean and variance of the mixture $\frac1B \sum_j q(z|x_j)$ of a batch,
      dimension by dimension, $(\mu - m)/s$ and $\sigma/s$ are kept, and a batch is compared to them in its own units.
      A batch alone cannot tell the difference (a row of scores moves by a constant). With earlier candidates, what all
      codes have drifted since is no way to tell today's from yesterday's, and running away from these earns nothing.
    - *Candidates are constants*, those of the batch too. Where every row is a sample of one of the candidates, the
      gradient of $\sum_i \log \sum_j q(z_i|x_j)$ through the candidates has mean 0 over the noise, as the score of any
      mixture has. In a batch of B + Q rows it may therefore be left out. B rows of the B + Q do not add up to 0: a
      queue whose own batch keeps that gradient is pushed off by it.

    So the mean gradient is that of a batch of B + Q with the same encoder; the value is that of its B rows.

    Whoever owns a memory calls its `after_step`; nothing else moves it.

    Arguments:
        size: Q, posteriors kept. They grow stale: 1,920 was the most that was measured.
        latent: D.

    Raises:
        BadInput: when a width is not a positive whole number.

    References:
        He et al., 2020, https://arxiv.org/abs/1911.05722 (the queue);
        Roeder, Wu, Duvenaud, 2017, https://arxiv.org/abs/1703.09194 (a score with mean 0 left out);
        Ioffe, Szegedy, 2015, https://arxiv.org/abs/1502.03167 (a batch in its own units).

    Example:
        >>> memory = Memory(size=6, latent=2)
        >>> z, mean, scale = torch.zeros(1, 4, 2), torch.zeros(4, 2), torch.ones(4, 2)
        >>> memory(z, mean, scale).exp()  # one of four
        tensor([4., 4., 4., 4.])
        >>> memory.after_step()
        >>> memory(z, mean, scale).exp()  # one of eight
        tensor([8., 8., 8., 8.])
    """

    def __init__(self, size: int, latent: int) -> None:
        super().__init__()
        widths("Memory", size=size, latent=latent)
        self.size, self.latent = size, latent
        self.bank = Bank(size, 2 * latent)
        self._handed: Tensor | None = None
        self._prepared = Prepared()

    def forward(self, zs: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Cross-entropy of naming the partner among all candidates, (B,) nats, mean over the K samples.

        Arguments:
            zs: (K, B, D), samples of the batch's posteriors.
            mean, scale: (B, D), means and standard deviations of these.
        """
        if mean.ndim != 2 or mean.shape[1] != self.latent or mean.shape != scale.shape or zs.shape[1:] != mean.shape:
            raise ShapeError(
                f"the memory expects samples (K, B, {self.latent}), means and scales (B, {self.latent}), "
                f"got {describe(zs)}, {describe(mean)} and {describe(scale)}"
            )
        kind, zs, mean, scale = zs.dtype, exact(zs), exact(mean), exact(scale)  # float32 would drown small scales
        centre, unit = moments(mean, scale)
        mean, scale = (mean - centre) / unit, scale / unit
        now = torch.cat([mean, scale], 1).detach().to(kind)
        if self.training and torch.is_grad_enabled():
            self._handed = now
        columns = gaussian_columns(mean.detach(), scale.detach(), torch.zeros_like(centre))
        zs = (zs - centre) / unit
        if any(columns.tight(z) for z in zs):
            kept = exact(self.bank.filled)
            return torch.stack([by_differences(z, mean, scale, kept) for z in zs]).mean(0).to(kind)
        past = self._prepared.of(self.bank)
        return torch.stack([named(z, mean, scale, columns, past, kind) for z in zs]).mean(0)

    def after_step(self) -> None:
        """Take in what the last training step compared."""
        if self._handed is not None:
            self._prepared.put(self.bank, self._handed)
            self._handed = None

    def ceiling(self, batch: int) -> float:
        """Log of the number of candidates, log(B + Q), when the memory is full."""
        return math.log(batch + self.size)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"size={self.size}, latent={self.latent}"


def named(
    z: Tensor,
    mean: Tensor,
    scale: Tensor,
    columns: GaussianColumns,
    past: Tensor | None = None,
    out: torch.dtype | None = None,
) -> Tensor:
    """Cross-entropy of naming the posteriors (B, D) of samples z (B, D) among constant candidates, (B,) nats."""
    rest = through_posterior(z, mean, scale).to(out or z.dtype)
    return naming(columns.left(z), columns.right.detach(), past, out or z.dtype) - rest


def by_differences(z: Tensor, mean: Tensor, scale: Tensor, past: Tensor) -> Tensor:
    """`named` among these posteriors and earlier ones (Q, 2 D), where products of far codes are too coarse."""
    means, scales = (torch.cat(pair) for pair in zip((mean.detach(), scale.detach()), past.chunk(2, 1), strict=True))
    return info_nce(pairwise_log_prob(z, means, scales)) - through_posterior(z, mean, scale)


def through_posterior(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Zeros (B,) with the gradient of log q(z_i|x_i) through the posterior: its value is among the scores."""
    own = -0.5 * ((z.detach() - mean) / scale).square().sum(1) - scale.log().sum(1)
    return own - own.detach()


def moments(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the mixture of diagonal Gaussians (B, D)."""
    centre = mean.mean(0)
    return centre, ((mean - centre).square().mean(0) + scale.square().mean(0)).sqrt()


def draw_in_chunks(model: Model, x: Tensor, chunk: int = 128, samples: int = 1) -> Draw:
    r"""A draw of a large batch that keeps the activations of one chunk at a time.

    Encoder and decoder pass chunk after chunk without a graph; the backward pass asks for their gradients and passes
    every chunk again. A critic still sees the whole batch: B posteriors, B x D floats. Losses and gradients are those
    of `draw(model, x, samples)` with the same noise; layers that look at the batch (batch normalisation) see chunks,
    and move their running statistics twice. Time: one more pass forward, about 4/3 of the plain large batch.

    Arguments:
        model: its posterior is a diagonal Gaussian.
        x: (B, *X).
        chunk: examples that are passed at once.
        samples: K.

    Returns:
        A `Draw`.

    Raises:
        BadInput: when `chunk` is not a positive whole number.
        Unsupported: when the posterior is of another family.

    References:
        Gao et al., 2021, https://arxiv.org/abs/2101.06983 (gradient cache);
        Chen et al., 2016, https://arxiv.org/abs/1604.06174 (recomputed activations).

    Example:
        >>> from uncollapse import VAE
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> draw_in_chunks(model, torch.rand(10, 16), chunk=4).elbo.shape
        torch.Size([10])
    """
    widths("draw_in_chunks", chunk=chunk, samples=samples)
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        raise ShapeError(f"x should be a batch (B, *X) of at least one example, got {describe(x)}")

    def encoded(part: Tensor) -> tuple[Tensor, Tensor]:
        return diagonal(model.posterior(part), "draw_in_chunks")

    halves = [again(encoded, part) for part in torch.split(x, chunk)]
    mean, scale = (torch.cat(half) for half in zip(*halves, strict=True))
    q = Independent(Normal(mean, scale, validate_args=False), 1, validate_args=False)
    z = sample(q, samples)
    return Draw(x, q, z, InChunks(model, z, chunk, x.shape[1:]), model.prior())


def again(function: Any, *arguments: Tensor) -> Any:
    """What the function returns; its graph is made anew in the backward pass, with the same noise."""
    return checkpoint(function, *arguments, use_reentrant=False)


class InChunks(Distribution):
    """The likelihoods of samples (K, B, D), made chunk by chunk whenever they are asked for.

    Arguments:
        model: whose likelihood it is.
        z: (K, B, D).
        chunk: examples at once.
        shape: X.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, model: Model, z: Tensor, chunk: int, shape: Size) -> None:
        self.model, self.z, self.chunk = model, z, chunk
        super().__init__(z.shape[:2], shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density (K, B), nats, of values (B, *X)."""

        def scored(z: Tensor, x: Tensor) -> Tensor:
            return described(self.model.likelihood(z), x).log_prob(x)

        parts = zip(torch.split(self.z, self.chunk, 1), torch.split(value, self.chunk), strict=True)
        return torch.cat([again(scored, z, x) for z, x in parts], 1)

    @property
    def mean(self) -> Tensor:
        """Mean, (K, B, *X)."""
        return torch.cat([again(self._means, z) for z in torch.split(self.z, self.chunk, 1)], 1)

    def _means(self, z: Tensor) -> Tensor:
        return self.model.likelihood(z).mean
