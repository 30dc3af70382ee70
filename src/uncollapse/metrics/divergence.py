"""The rate KL(q(z|x)||p(z)), and what it is spent on: information, or distance from the prior."""

import math
from functools import cached_property

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics.estimate import Estimate, mean_estimate
from uncollapse.metrics.information import BIASED, Bracket, mutual_information, part_of
from uncollapse.metrics.marginals import log_shares
from uncollapse.metrics.moments import average, by_block, by_row, power, row_sums
from uncollapse.metrics.parallel import each_piece
from uncollapse.metrics.ratios import query_rows, spans

__all__ = ["KL", "kl"]

QUERIES = 2048  #: examples at which the one-dimensional densities are evaluated, at most
NUMBERS = 2**22  #: of means, and as many of scales, that are held at once for the densities of single latents
MATCHED = ("from the posteriors' moments: a lower bound",)


class KL(Estimate):
    """Mean KL to the prior, with its parts; a part is computed when it is first asked for.

    Attributes:
        codes: what it was measured on.
        queries: at how many examples its information is evaluated; None for all, and 2,048 for single latents.
    """

    codes: Codes
    queries: int | None

    @cached_property
    def per_dim(self) -> Tensor:
        """Mean KL of every latent, (D,) nats; (1,) where the divergence does not factorise."""
        return average(self.codes, self.codes.kl)

    @cached_property
    def table(self) -> tuple[Tensor, Tensor]:
        """Query examples (Q,) and their information in every latent, (Q, D) nats."""
        return marginal_information(self.codes, min(self.queries or QUERIES, QUERIES))

    @property
    def factorises(self) -> bool:
        """Whether there is a KL per latent."""
        return self.codes.kl.shape[1] == self.codes.latent

    @property
    def remarks(self) -> tuple[str, ...]:
        """Flags of what is said about single latents."""
        return (*part_of(len(self.table[0]), len(self.codes)), *(MATCHED if self.codes.scale is None else ()))

    @cached_property
    def information_per_dim(self) -> Tensor:
        """I(x;z_j) of every latent, (D,) nats, at least 0; every one is capped by log N."""
        return self.table[1].mean(0).clamp(min=0)

    @cached_property
    def information(self) -> Estimate:
        """Sum over the latents of I(x;z_j), nats: above I(x;z) where latents repeat one another."""
        found = mean_estimate(self.table[1].sum(1), "nats", self.remarks)
        return Estimate(float(self.information_per_dim.sum()), found.se, found.n, "nats", found.flags)

    @property
    def mismatch_per_dim(self) -> Tensor:
        """KL(q(z_j)||p(z_j)) of every latent, (D,) nats: what is left of the KL.

        Raises:
            BadInput: when the KL does not factorise.
        """
        if not self.factorises:
            raise BadInput(
                "the mismatch per latent needs a posterior and a prior that factorise; joint_mismatch is still right"
            )
        return self.per_dim - self.information_per_dim

    @cached_property
    def mismatch(self) -> Estimate:
        """Sum over the latents of KL(q(z_j)||p(z_j)), nats; where the KL does not factorise, `joint_mismatch`."""
        if not self.factorises:
            joint = self.joint_mismatch
            return Estimate(joint.value, joint.se, joint.n, "nats", ("of the whole code", *joint.flags))
        queries, values = self.table
        found = mean_estimate((self.codes.kl[queries].double() - values).sum(1), "nats")
        return Estimate(float(self.mismatch_per_dim.sum()), found.se, found.n, "nats")

    @cached_property
    def separation(self) -> float:
        """What the KL surely spends on distance from the prior, nats: `mismatch`, without what N examples cannot show.

        Information near log N is too low, and the mismatch that is left of the KL too large by as much: there the
        moments' upper bound stands for the information.
        """
        if not self.factorises:
            full = self.bracket.ceiling - self.bracket.lower < BIASED
            return float(self) - float(self.bracket.upper if full else self.bracket.lower)
        near = self.information_per_dim.gt(math.log(len(self.codes)) - BIASED)
        return float(torch.where(near, self.per_dim - self.most_per_dim, self.mismatch_per_dim).sum())

    @property
    def most_per_dim(self) -> Tensor:
        """An upper bound of I(x;z_j), (D,) nats: from the moments of the latent, or its KL for other families."""
        if self.codes.scale is None:
            return self.per_dim
        mean, scale = self.codes.normal("kl")
        sums = by_block(lambda s, _: torch.stack([s.square(), s.log()]).sum(1), scale, scale, self.codes.release)
        square, level = sums.sum(0) / len(self.codes)
        width = power(self.codes, mean, 2) + square
        most: Tensor = 0.5 * width.log() - level
        return most.minimum(self.per_dim)

    @cached_property
    def bracket(self) -> Bracket:
        """The bounds of I(x;z) that the joint split rests on."""
        return mutual_information(self.codes, queries=self.queries)

    @property
    def joint_information(self) -> Estimate:
        """I(x;z) of the whole code: the bracket's lower bound, nats."""
        return self.bracket.lower

    @cached_property
    def joint_mismatch(self) -> Estimate:
        """KL(q(z)||p(z)) of the whole code: the KL less `joint_information`, nats; too large where that saturates."""
        information = self.joint_information
        se = float(torch.tensor([self.se, information.se]).norm())
        return Estimate(self.value - information.value, se, self.n, "nats", information.flags)


def kl(codes: Codes, queries: int | None = None) -> KL:
    r"""Mean divergence of the posteriors from the prior, and its split.

    $\frac1N\sum_i \mathrm{KL}(q_i\|p) = I(x;z) + \mathrm{KL}(q(z)\|p)$, and the same for every latent by
    itself: $\mathrm{KL}_j = I(x;z_j) + \mathrm{KL}(q(z_j)\|p_j)$. A large KL says nothing about the
    information: look at the parts. The prior is the one that the codes were made with.

    Arguments:
        codes: posteriors of N examples.
        queries: how many random examples the information is evaluated at, each against all N; its mean stays right
            and its error says what the choice costs. The KL itself is of all N.

    Returns:
        A `KL`: the total, nats, with `per_dim`, `information`, `information_per_dim`, `mismatch`,
        `mismatch_per_dim` (latent by latent), `joint_information` and `joint_mismatch` (the whole code).
        The parts per latent are evaluated at 2,048 examples at most, against all. For posteriors
        that are not Gaussian the information of a latent is a lower bound, from Gaussians with their moments; where
        the KL does not factorise there is no mismatch per latent, and `mismatch` is that of the whole code.

    References:
        Hoffman, Johnson, 2016, "ELBO surgery: yet another way to carve up the variational evidence lower bound".

    Example:
        >>> codes = uncollapse.Codes.from_gaussian(torch.full((100, 2), 4.0), torch.ones(100, 2))
        >>> rate = kl(codes)
        >>> rate
        16.000 ± 0.000 nats (n = 100)
        >>> rate.information, rate.mismatch
        (0.000 ± 0.000 nats (n = 100), 16.000 ± 0.000 nats (n = 100))
    """
    query_rows(len(codes), queries)  # refuses a bad number now rather than when a part is first asked for
    total = mean_estimate(row_sums(codes, codes.kl), "nats")
    found = KL(total.value, total.se, total.n, total.unit)
    found.codes, found.queries = codes, queries
    return found


def marginal_information(codes: Codes, queries: int = QUERIES) -> tuple[Tensor, Tensor]:
    r"""$\log q(z_{ij}|x_i) - \log\frac1N\sum_k q(z_{ij}|x_k)$ at query examples (Q,), one latent at a time, (Q, D)."""
    at = query_rows(len(codes), queries)
    mean, scale, z = spread_of(codes)
    z, columns = z[at].double(), []
    for start, stop in spans(codes.latent, max(1, NUMBERS // len(codes))):
        both = columns_of(codes, mean, scale, slice(start, stop))

        def line(j: int, start: int = start, both: Tensor = both) -> Tensor:
            centre, spread = both[:, :, j].T.contiguous()
            return log_shares(z[:, start + j].contiguous(), centre, spread, at)

        columns += each_piece(line, range(stop - start))
    return at, torch.stack(columns, 1) + math.log(len(codes))


def spread_of(codes: Codes) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and sample (N, D), as they lie where they can be read in blocks."""
    if codes.scale is None:
        return codes.moments("kl")
    return codes.mean, codes.scale, codes.sample


def columns_of(codes: Codes, mean: Tensor, scale: Tensor, some: slice) -> Tensor:
    """Means and deviations of some latents, (N, 2, latents) in float64."""
    return by_row(lambda m, s: torch.stack([m[:, some], s[:, some]], 1), mean, scale, codes.release)
