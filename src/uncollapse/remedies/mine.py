r"""Mutual information neural estimation: a network learns to bound the information, and the encoder to raise the bound.

Setting: B pairs $(x_i, z_i)$ with $z_i \sim q(z|x_i)$, and mixed pairs $(x', z)$ of different examples, which stand for
the product of the marginals.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from uncollapse.distributions import precise
from uncollapse.draw import Draw, Model, called
from uncollapse.errors import BadInput
from uncollapse.functional import log_mean_exp
from uncollapse.nets.shapes import check_shape
from uncollapse.remedies.base import Remedy, at_least_zero, one_of, shown
from uncollapse.remedies.contrast import Compare, compared, head, widths
from uncollapse.remedies.divergence import off_diagonal
from uncollapse.remedies.neural_critic import embedding, tower
from uncollapse.schedules import Schedule

__all__ = ["MINE"]

Bound = Literal["dv", "nwj"]
Pairs = Literal["shuffled", "all"]

PAIRS = 2048  #: pairs whose embeddings pass the network together: 1 MiB of 128 each, which stays in a cache


class MINE(Remedy):
    r"""A network tells pairs (x, z) of the model from mixed ones, and the encoder helps it (VAE-MINE).

    The term is minus a bound of the mutual information that the network T raises:

    - "dv" (Donsker-Varadhan, MINE): $\mathbb E\,T(x,z) - \log \mathbb E\,e^{T(x',z)}$. On a batch it is biased and no
      bound. Its gradient is $\mathbb E\,\nabla T - \mathbb E[e^T \nabla T] / \bar e$, with $\bar e$ a moving average of
      $\mathbb E\,e^T$ that takes most of the bias out.
    - "nwj" (f-MINE): $\mathbb E\,T(x,z) - \mathbb E\,e^{T(x',z) - 1}$, unbiased on a batch and a bound, but looser.

    Neither has a ceiling, but the variance of both grows with the exponential of the information, so minus the mean
    of the term is no measurement. Its parameters belong into the optimiser.

    Arguments:
        shape: X, shape of one observation.
        latent: D.
        weight: number or schedule.
        bound: "dv" or "nwj".
        pairs: mixed pairs (x', z): "shuffled" mixes the batch once, so that T is evaluated at 2 B pairs; "all" takes
            all B (B - 1) pairs of different examples, as VAE-MINE does.
        decay: of the moving average, per step, in [0, 1); 0 is the plain gradient of the batch.
        embed, hidden_x, hidden: widths of the embeddings, of x's hidden layer and of T's.
        compare: "sample" or "mean".
        x_tower, vocabulary: what reads x, as for `NeuralCritic`; a module of one's own gives `embed` numbers per
            example.

    Raises:
        BadInput: for an unknown choice, a size out of range, or a batch of one.
        ShapeError: when x, z or a tower's output has the wrong shape.

    References:
        Belghazi et al., 2018, https://arxiv.org/abs/1801.04062, sections 3.1 and 3.2 (T, both bounds, the correction);
        Qian, Cheung, 2019, https://aclanthology.org/D19-1416 (in a VAE);
        Poole et al., 2019, https://arxiv.org/abs/1905.06922, section 2.2 (which forms are bounds).

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> MINE((16,), latent=4)(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (
        "Belghazi et al., 2018, MINE: Mutual Information Neural Estimation, https://arxiv.org/abs/1801.04062",
        "Qian, Cheung, 2019, Enhancing Variational Autoencoders with Mutual Information Neural Estimation for Text "
        "Generation, https://aclanthology.org/D19-1416",
        "Poole et al., 2019, On Variational Bounds of Mutual Information, https://arxiv.org/abs/1905.06922",
    )

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        weight: float | Schedule = 1.0,
        bound: Bound = "dv",
        pairs: Pairs = "shuffled",
        decay: float = 0.99,
        embed: int = 128,
        hidden_x: int = 256,
        hidden: int = 128,
        compare: Compare = "sample",
        x_tower: nn.Module | str | None = None,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__(weight)
        widths("MINE", latent=latent, embed=embed, hidden_x=hidden_x, hidden=hidden)
        self.bound, self.pairs = one_of("bound", bound, Bound), one_of("pairs", pairs, Pairs)
        self.compare = one_of("compare", compare, Compare)
        self.decay = at_least_zero("decay", decay)
        if self.decay >= 1:
            raise BadInput(f"decay of MINE should be below 1, got {decay!r}")
        if not isinstance(x_tower, nn.Module):
            x_tower = tower(x_tower, check_shape(shape, "MINE"), hidden_x, embed, vocabulary)
        self.x_tower = x_tower
        self.z_tower = nn.Linear(latent, embed)
        self.joint = nn.Sequential(nn.ReLU(), *head(embed, hidden, 1))
        self.draws_noise = pairs == "shuffled"
        self.register_buffer("log_total", torch.tensor(-math.inf))  # log of the moving sum of E exp T
        self.register_buffer("mass", torch.tensor(0.0))  # of its weights; below 1 while it is young
        self._handed: tuple[Tensor, Tensor] | None = None

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What reads x."""
        return (self.x_tower,)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Minus the estimate of the information, (B,) nats, mean over the K samples."""
        zs = compared(draw, self.compare, "MINE")
        own, mixed = self.scores(draw, zs)
        if self.bound == "nwj":
            return ((mixed - 1).exp().mean(2) - own).mean(0)
        return self.corrected(log_mean_exp(mixed.flatten(), 0)) - own.mean(0)

    def scores(self, draw: Draw, zs: Tensor) -> tuple[Tensor, Tensor]:
        """T of the pairs as they are (K, B), and of N mixed pairs for each code (K, B, N)."""
        h = embedding(called(self.x_tower, draw.x, "x_tower"), draw.x, "x_tower")
        g = called(self.z_tower, zs, "z_tower")
        if self.pairs == "all":
            square = precise(torch.stack([self.square(h, one) for one in g]))
            return square.diagonal(dim1=1, dim2=2), torch.stack([off_diagonal(one) for one in square])
        order = torch.randperm(len(h), device=h.device)
        strangers = torch.empty_like(order).scatter(0, order, order.roll(1))  # one cycle: nobody meets himself
        return precise(self.joint(h + g).squeeze(2)), precise(self.joint(h[strangers] + g))

    def square(self, h: Tensor, g: Tensor) -> Tensor:
        """T of all pairs of embeddings of z (B, E) and x (B, E), (B, B), some rows at a time."""
        rows = max(1, PAIRS // len(h)) if h.device.type == "cpu" else len(g)
        return torch.cat([self.joint(h + some.unsqueeze(1)).squeeze(2) for some in torch.split(g, rows)])

    def corrected(self, level: Tensor) -> Tensor:
        """log E exp T of the batch, whose gradient divides by the moving average instead of by the batch's own mean."""
        log_total, mass = cast(Tensor, self.log_total), cast(Tensor, self.mass)
        with torch.no_grad():
            kept = math.log(self.decay) if self.decay else -math.inf
            log_total = torch.logaddexp(log_total + kept, level + math.log1p(-self.decay))
            mass = self.decay * mass + 1 - self.decay
        if self.training and torch.is_grad_enabled():
            self._handed = log_total, mass
        ratio = (level - log_total + mass.log()).exp()
        return level.detach() + ratio - ratio.detach()

    def after_step(self, model: Model) -> None:
        """Count the step and take the batch into the moving average."""
        super().after_step(model)
        if self._handed is not None:
            cast(Tensor, self.log_total).copy_(self._handed[0])
            cast(Tensor, self.mass).copy_(self._handed[1])
            self._handed = None

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"weight={shown(self.weight)}, bound={self.bound!r}, pairs={self.pairs!r}, decay={self.decay:g}, "
            f"compare={self.compare!r}"
        )
