r"""The self critic: the posterior density itself tells which latent belongs to which input.

Setting of all critics: B pairs $(x_i, z_i)$; a scorer gives $s_{ij}$, how well $z_i$ fits $x_j$. The term is the loss
of naming the partner, and `log B - term` bounds the mutual information of the pairs from below. It cannot exceed
log B. Past that a multisample critic asks for little more, unless its weight is large. `remedies.pairs` lists the
choices that change what is learnt.

References:
    Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535.
"""

import math
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.distributions import diagonal
from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput
from uncollapse.functional import gaussian_columns, log_mean_exp, pairwise_log_prob
from uncollapse.remedies.base import Remedy, shown
from uncollapse.remedies.contrast import Compare, Direction, Kind, compared, positive
from uncollapse.remedies.memory import Memory, counted
from uncollapse.remedies.naming import naming
from uncollapse.remedies.pairs import MENON, Gradient, Side, Task
from uncollapse.remedies.second_pass import still
from uncollapse.schedules import Schedule

__all__ = ["SelfCritic"]


class SelfCritic(Remedy):
    r"""The posterior density itself is the critic: no network, no parameter.

    $T_i = -\log \frac{q(z_i|x_i)^{1/\tau}}{\sum_j q(z_i|x_j)^{1/\tau}}$ for direction x. At $\tau = 1$ this is the best
    critic of its batch size, because $q(z)$ cancels in a softmax over x; in one over z it does not.
    `log B - mean(T)` is then the usual per-batch estimate of the mutual information, so judge this remedy by an
    estimate over the whole set.

    `kind="binary"` takes the logistic loss of $s_{ij} = \frac1\tau \log \frac{q(z_i|x_j)}{m(z_i)}$, where m is the
    marginal of the z that are paired: $\frac1B \sum_k q(z|x_k)$ on the inference side, the prior on the model side.
    (With the prior on the inference side the mean of the ratio would be the KL, and not the mutual information.)

    Arguments:
        weight: number or schedule; terms are at most a few nats, so 20 to 40 were needed in the literature.
        temperature: tau; the ratio of a binary critic is one at tau = 1 only.
        direction: "x", "z" or "both".
        compare: "sample" scores $z_i$, "mean" the posterior's mean.
        side: "inference", or "model" for pairs $z \sim p(z), x \sim p(x|z)$: another pass of decoder and encoder.
        kind: "multisample" or "binary"; the latter falls from 1.39 nats to 0, so it wants a larger weight.
        gradient: on the model side, "reparametrised", "straight_through" or "detached" (see `remedies.pairs`).
        memory: Q, posteriors of earlier batches that are candidates too (`remedies.memory.Memory`); the critic then
            reaches log(B + Q). It goes with the defaults of everything above but the weight.
        candidates: N, the size of a batch that the negatives stand for (`remedies.memory.counted`): no cost and no
            bound. For multisample critics without a memory.
        latent: D, needed with a memory.

    Raises:
        BadInput: for an unknown choice, a temperature that is not positive, a batch of one, or choices that do not go
            together.
        Unsupported: when the posterior is not a diagonal Gaussian, or x has no sample with that gradient.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, the self critic.

    Example:
        >>> from torch import nn, rand
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> SelfCritic(weight=20.0)(draw(model, rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (MENON,)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        temperature: float = 1.0,
        direction: Direction = "x",
        compare: Compare = "sample",
        side: Side = "inference",
        kind: Kind = "multisample",
        gradient: Gradient = "reparametrised",
        memory: int = 0,
        candidates: int | None = None,
        latent: int | None = None,
    ) -> None:
        super().__init__(weight)
        self.temperature = positive("temperature", temperature)
        self.task = Task(direction, compare, side, kind, gradient)
        self.draws_noise = self.task.on_model
        self.candidates = candidates
        self.memory = self.remembering(memory, latent) if memory else None
        if candidates is not None and (memory or kind == "binary"):
            raise BadInput("candidates= counts the negatives of a multisample critic that has no memory")

    def remembering(self, size: int, latent: int | None) -> Memory:
        """A memory, if the other choices allow one."""
        if latent is None:
            raise BadInput("a memory holds posteriors of a fixed width: give latent=, the number of latents")
        if self.temperature != 1 or self.task != Task("x", "sample", "inference", "multisample", "reparametrised"):
            raise BadInput(
                f"memory= goes with temperature 1, direction 'x', samples, the inference side and kind 'multisample', "
                f"got temperature={self.temperature:g}, {self.task}"
            )
        return Memory(size, latent)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Loss of naming the partner, (B,) nats, mean over the K samples."""
        if self.memory is not None:
            zs = compared(draw, "sample", "SelfCritic")
            return cast(Tensor, self.memory(zs, *diagonal(draw.q, "SelfCritic")))
        if (self.task.direction, self.task.kind, self.candidates) == ("x", "multisample", None):
            return self.named(draw, model)
        scores = self.scores(draw, model)
        return self.task.loss(scores if self.candidates is None else [counted(s, self.candidates) for s in scores])

    def named(self, draw: Draw, model: Model) -> Tensor:
        """Cross-entropy of the matrices `scores`, (B,) nats, kept only where a product is too coarse."""
        x, zs = self.task.pairs(draw, model, "SelfCritic")
        mean, scale = diagonal(self.posterior(draw, model, x), "SelfCritic")
        columns = gaussian_columns(mean, scale)
        if any(columns.tight(z) for z in zs):
            return self.task.loss([pairwise_log_prob(z, mean, scale) / self.temperature for z in zs])
        right = columns.right if self.temperature == 1 else columns.right / self.temperature
        out = torch.promote_types(zs.dtype, torch.float32)
        return torch.stack([naming(columns.left(z), right, out=out) for z in zs]).mean(0)

    def after_step(self, model: Model) -> None:
        """Count the step and remember the batch."""
        super().after_step(model)
        if self.memory is not None:
            self.memory.after_step()

    def log_ratio(self, draw: Draw, model: Model) -> Tensor:
        """Estimates of log q(z|x)/m(z) at the pairs, (B,) nats: their mean estimates the mutual information."""
        return self.task.log_ratio(self.scores(draw, model))

    def scores(self, draw: Draw, model: Model) -> list[Tensor]:
        """For each sample a matrix (B, B): row i belongs to z_i, column j to x_j."""
        x, zs = self.task.pairs(draw, model, "SelfCritic")
        mean, scale = diagonal(self.posterior(draw, model, x), "SelfCritic")
        scores = [pairwise_log_prob(z, mean, scale) for z in zs]
        if self.task.kind == "binary":
            scores = [one - self.marginal(draw, z, one) for z, one in zip(zs, scores, strict=True)]
        return scores if self.temperature == 1 else [one / self.temperature for one in scores]

    def posterior(self, draw: Draw, model: Model, x: Tensor) -> Distribution:
        """q(z|x) of the paired inputs."""
        if not self.task.on_model:
            return draw.q
        with still(model):
            return model.posterior(x)

    def marginal(self, draw: Draw, z: Tensor, scores: Tensor) -> Tensor:
        """Log density of every z among the pairs, (B, 1) nats."""
        log_m = draw.prior.log_prob(z) if self.task.on_model else log_mean_exp(scores, 1)
        return log_m.unsqueeze(1)

    def ceiling(self, batch: int) -> float | None:
        """Log of the number of candidates; None where the loss bounds no information of the data's codes.

        That is so for a binary critic, whose loss has no such unit, for the model's pairs, and with `candidates`.
        """
        if not self.task.caps or self.candidates is not None:
            return None
        return math.log(batch) if self.memory is None else self.memory.ceiling(batch)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        ends = "" if self.candidates is None else f", candidates={self.candidates}"
        return f"weight={shown(self.weight)}, temperature={self.temperature:g}, {self.task}{ends}"
