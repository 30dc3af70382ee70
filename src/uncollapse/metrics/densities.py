"""Log densities of many samples for every example, with as few passes over memory as they need."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from uncollapse.metrics.fisher import core

__all__ = ["Draws", "log_likelihood", "wide", "workers"]

LINEAR = 40.0  #: logits above which softplus is taken for the identity: exact in float64 too
WORKERS = 8  #: threads that draw noise for a GPU, at most


class Draws:
    r"""K samples of each of B posteriors, and how much likelier they are under the prior than under their posterior.

    A diagonal Gaussian keeps the noise behind its samples: $\log q(z|x) = -\tfrac12|\epsilon|^2 - \sum\log\sigma$ needs
    no difference z - mu, of which float32 keeps three digits at scales of 1e-4.

    Arguments:
        q: posteriors of B examples, the first of which has the number `first`.
        samples: K.
        seed: the noise of example i depends on the seed and on i alone (on the batch too for other posteriors).
        first: see above.
        pool: threads that draw the noise from now on, until `pieces` needs it; drawn then if None.
    """

    def __init__(self, q: Distribution, samples: int, seed: int, first: int, pool: Executor | None = None) -> None:
        self.q, base = q, unwrapped(q)
        self.base = base if isinstance(base, Normal) else None
        if self.base is not None:
            count, latent = self.base.loc.shape
            self.noise = Noise(samples, count, latent, seed, first, pool)
        else:
            torch.manual_seed(hash((seed, first)) % 2**63)  # inside `evaluation`, which puts the stream back
            self.drawn = q.sample(Size((samples,)))

    def pieces(self, prior: Distribution, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Samples z (k, B, D) with log p(z) - log q(z|x) (k, B), at most `chunk` vectors where B allows it."""
        if self.base is None or not plain(self.q):
            for z in split(self.samples(), chunk):
                yield z, wide(prior.log_prob(z)) - wide(self.q.log_prob(z))
            return
        mean, scale = wide(self.base.loc), wide(self.base.scale)
        for part in split(self.noise.table(mean.device), chunk):
            noise = torch.empty(part.shape, dtype=mean.dtype, device=mean.device).copy_(part)
            exact = torch.addcmul(mean, scale, noise)
            z = exact.to(self.base.loc.dtype)
            yield z, log_ratio(prior, z, exact, noise) + scale.log().sum(-1)

    def samples(self) -> Tensor:
        """All of them, (K, B, D)."""
        if self.base is None:
            return self.drawn
        noise = self.noise.table(self.base.loc.device)
        return torch.addcmul(wide(self.base.loc), wide(self.base.scale), wide(noise)).to(self.base.loc.dtype)


def log_ratio(prior: Distribution, z: Tensor, exact: Tensor, noise: Tensor) -> Tensor:
    """log p(z) - log N(noise; 0, I), (k, B); the noise is used up. `exact` is z before it was rounded."""
    p = unwrapped(prior)
    if isinstance(p, Normal) and plain(prior):
        away = torch.sub(exact, p.loc).div_(p.scale)
        return 0.5 * noise.square_().addcmul_(away, away, value=-1).sum(-1) - wide(p.scale).log().sum(-1)
    constant = 0.5 * math.log(2 * math.pi) * noise.shape[-1]
    return wide(prior.log_prob(z)) + 0.5 * noise.square_().sum(-1) + constant


class Noise:
    """Standard normal numbers of a block of examples, drawn by threads while something else is computed."""

    def __init__(self, samples: int, count: int, latent: int, seed: int, first: int, pool: Executor | None) -> None:
        self.numbers = np.empty((count, samples, latent), dtype=np.float32)
        self.seed, self.first = seed % 2**63, first
        self.waiting: list[Future[None]] = [] if pool is None else [pool.submit(self.draw, i) for i in range(count)]

    def draw(self, i: int) -> None:
        """Numbers of one example, by a counter-based generator of its own: streams cannot meet, whatever the seeds."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.first + i]))
        generator.standard_normal(out=self.numbers[i], dtype=np.float32)

    def table(self, device: torch.device) -> Tensor:
        """All of them, (K, B, D), in float32."""
        if not self.waiting:
            for i in range(len(self.numbers)):
                self.draw(i)
        for one in self.waiting:
            one.result()
        return torch.from_numpy(self.numbers).to(device).transpose(0, 1)


def workers(device: torch.device) -> ThreadPoolExecutor | None:
    """Threads to draw noise beside the decoder: one where it has several, more for a GPU; None where it has one."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return None
    return ThreadPoolExecutor(1 if device.type == "cpu" else min(WORKERS, os.cpu_count() or 1))


def split(z: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """Parts of z (K, B, D) along K, each of at most `chunk` vectors where B allows it."""
    parts: tuple[Tensor, ...] = torch.split(z, max(1, chunk // z.shape[1]))
    return parts


def unwrapped(p: Distribution) -> Distribution:
    """The distribution behind `Independent`."""
    base: Distribution = p.base_dist if isinstance(p, Independent) else p
    return base


def plain(p: Distribution) -> bool:
    """Whether a distribution is one of torch's own independent Gaussians, whose density is known."""
    return isinstance(unwrapped(p), Normal) and type(unwrapped(p)).log_prob is Normal.log_prob


def wide(values: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return values.float() if values.device.type == "mps" else values.double()


def log_likelihood(px: Distribution, x: Tensor) -> Tensor:
    r"""log p(x|z) of every sample (K, B), nats, in float64; x (B, *X) is not repeated for them.

    For a Bernoulli likelihood with logits l it is $-\sum_j [\operatorname{softplus}(l_j) - x_j l_j]$: no term is
    negative, so that nothing cancels in the sum. Other likelihoods are asked for their `log_prob`.
    """
    base = core(px)
    if isinstance(base, Bernoulli) and type(base).log_prob is Bernoulli.log_prob:
        logits = base.logits
        if logits.numel() == px.batch_shape.numel() * px.event_shape.numel():
            logits = logits.reshape(*px.batch_shape, -1)
            loss = F.softplus(logits, threshold=LINEAR).addcmul_(x.flatten(1), logits, value=-1)
            return -wide(loss.sum(-1))
    return wide(px.log_prob(x))
