r"""Contrastive critics: the latent must tell its own input from the others of the batch.

Setting: B pairs $(x_i, z_i)$ with $z_i \sim q(z|x_i)$; a scorer gives $s_{ij}$, how well $z_i$ fits $x_j$. The term is
the cross-entropy of naming the partner, and `log B - term` bounds the mutual information from below. It cannot
exceed log B: beyond that a critic adds nothing.

The choices that change what is learnt are arguments with names:

- `direction`: "x" is a softmax over inputs (each z names its x), "z" one over latents, "both" their mean.
- `compare`: "sample" scores $z_i$, "mean" the posterior's mean. A cosine between means keeps its direction at any
  scale, so its loss can fall while no information survives the noise: "sample" is the default.
- `temperature`: scores are divided by it.

References:
    Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, nn

from uncollapse.distributions import describe, diagonal
from uncollapse.draw import Draw, Model, called
from uncollapse.errors import BadInput, ShapeError
from uncollapse.functional import pairwise_log_prob
from uncollapse.nets.build import encoders, make
from uncollapse.nets.shapes import check_shape
from uncollapse.remedies.base import Remedy, one_of, shown
from uncollapse.remedies.contrast import (
    Compare,
    Cosine,
    Direction,
    Temperature,
    compared,
    contrast,
    head,
    positive,
    widths,
)
from uncollapse.schedules import Schedule

__all__ = ["HybridCritic", "NeuralCritic", "SelfCritic"]

Trunk = str | Callable[[Any, Tensor], Tensor]

MENON = (
    "Menon, Blei, Vondrick, 2022, Forget-me-not! Contrastive Critics for Mitigating Posterior Collapse, "
    "https://arxiv.org/abs/2207.09535"
)
CLIP = (
    "Radford et al., 2021, Learning Transferable Visual Models From Natural Language Supervision, "
    "https://arxiv.org/abs/2103.00020"
)


class SelfCritic(Remedy):
    r"""The posterior density itself is the critic: no network, no parameter.

    $T_i = -\log \frac{q(z_i|x_i)^{1/\tau}}{\sum_j q(z_i|x_j)^{1/\tau}}$ for direction x. At $\tau = 1$ this is the best
    critic of its batch size, because $q(z)$ cancels in a softmax over x; in one over z it does not.
    `log B - mean(T)` is then the usual per-batch estimate of the mutual information, so judge this remedy by an
    estimate over the whole set.

    Arguments:
        weight: number or schedule; terms are at most a few nats, so 20 to 40 were needed in the literature.
        temperature: tau.
        direction: "x", "z" or "both".
        compare: "sample" or "mean".

    Raises:
        BadInput: for an unknown choice, a temperature that is not positive, or a batch of one.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, the self critic.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> SelfCritic(weight=20.0)(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (MENON,)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        temperature: float = 1.0,
        direction: Direction = "x",
        compare: Compare = "sample",
    ) -> None:
        super().__init__(weight)
        self.temperature = positive("temperature", temperature)
        self.direction = one_of("direction", direction, Direction)
        self.compare = one_of("compare", compare, Compare)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Cross-entropy of naming the partner, (B,) nats, mean over the K samples."""
        mean, scale = diagonal(draw.q, "SelfCritic")
        zs = compared(draw, self.compare, "SelfCritic")
        scores = [pairwise_log_prob(z, mean, scale) for z in zs]
        if self.temperature != 1:
            scores = [one / self.temperature for one in scores]
        return torch.stack([contrast(one, self.direction) for one in scores]).mean(0)

    def ceiling(self, batch: int) -> float:
        """log B."""
        return math.log(batch)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"weight={shown(self.weight)}, temperature={self.temperature:g}, "
            f"direction={self.direction!r}, compare={self.compare!r}"
        )


class NeuralCritic(Remedy):
    r"""Two networks embed x and z; a pair is scored by the cosine of its embeddings.

    $T_i = -\log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}$, $s_{ij} = \cos(g(z_i), h(x_j)) / \tau$, mean of both directions
    by default. The gradient reaches the encoder through z. Its parameters belong into the optimiser.

    Arguments:
        shape: X, shape of one observation.
        latent: D.
        weight: number or schedule.
        embed: width E of the shared space.
        hidden_x, hidden_z: widths of the hidden layers.
        temperature: tau; "raw" is the trainable multiplier of the re-implementation report, which starts at
            log(1/0.07) = 2.659 (not 1/0.07 = 14.3) and so caps the bound near 2.5 nats until it has grown.
        learn_temperature: train log(1/tau), capped at 1/tau = 100.
        direction, compare: as for `SelfCritic`.
        x_tower: what reads x before the hidden layer: None flattens it; the name of an encoder of `uncollapse.nets`
            builds a fresh one ("conv-small", say); a module of one's own maps x (B, *X) to (B, E) itself.

    Raises:
        BadInput: for an unknown choice, a width or temperature that is not positive, or a batch of one.
        ShapeError: when x, z or a tower's output has the wrong shape.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, the neural critic;
        Radford et al., 2021, https://arxiv.org/abs/2103.00020 (the trained temperature).

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> critic = NeuralCritic((16,), latent=4, weight=20.0)
        >>> critic(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (MENON, CLIP)

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        weight: float | Schedule = 1.0,
        embed: int = 128,
        hidden_x: int = 256,
        hidden_z: int = 64,
        temperature: Temperature = 0.07,
        learn_temperature: bool = False,
        direction: Direction = "both",
        compare: Compare = "sample",
        x_tower: nn.Module | str | None = None,
    ) -> None:
        super().__init__(weight)
        widths("NeuralCritic", latent=latent, embed=embed, hidden_x=hidden_x, hidden_z=hidden_z)
        self.direction = one_of("direction", direction, Direction)
        self.compare = one_of("compare", compare, Compare)
        self.x_tower = x_tower if isinstance(x_tower, nn.Module) else tower(x_tower, shape, hidden_x, embed)
        self.z_tower = head(latent, hidden_z, embed)
        self.score = Cosine(temperature, learn_temperature)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Cross-entropy of naming the partner, (B,) nats, mean over the K samples."""
        zs = compared(draw, self.compare, "NeuralCritic")
        h = embedding(called(self.x_tower, draw.x, "x_tower"), draw, "x_tower")
        return torch.stack(
            [contrast(self.score(called(self.z_tower, z, "z_tower"), h), self.direction) for z in zs]
        ).mean(0)

    def after_step(self, model: Model) -> None:
        """Count the step and keep a trained temperature in bounds."""
        super().after_step(model)
        self.score.limit()

    def ceiling(self, batch: int) -> float:
        """log B, or what the fixed temperature leaves of it."""
        return self.score.ceiling(batch)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"weight={shown(self.weight)}, direction={self.direction!r}, compare={self.compare!r}, {towers(self)}"


class HybridCritic(Remedy):
    r"""A neural critic whose x side starts with the encoder's own first layers.

    As `NeuralCritic`, with $h(x) = \mathrm{head}(\mathrm{trunk}(x))$. The trunk stays the model's: it is looked up in
    the model at every step and never registered here, so no parameter occurs twice, and both losses train it. It is
    passed a second time per step.

    Arguments:
        features: F, numbers per example that leave the trunk (flattened).
        latent: D.
        trunk: dotted path of the trunk on the model, or a function of (model, x) that returns features (B, ...);
            a function should live in a module, so that it pickles.
        weight, embed, hidden_x, hidden_z, temperature, learn_temperature, direction, compare: as for `NeuralCritic`.

    Raises:
        BadInput: for an unknown choice, a width or temperature that is not positive, a model without that trunk,
            or a batch of one.
        ShapeError: when the trunk does not give F features per example.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, the hybrid critic.

    Example:
        >>> from uncollapse import VAE, draw
        >>> encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
        >>> model = VAE(encoder, nn.Linear(4, 16), latent=4)
        >>> critic = HybridCritic(features=32, latent=4, trunk="encoder.0", weight=20.0)
        >>> critic(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (MENON,)

    def __init__(
        self,
        features: int,
        latent: int,
        trunk: Trunk = "encoder.trunk",
        weight: float | Schedule = 1.0,
        embed: int = 128,
        hidden_x: int = 256,
        hidden_z: int = 64,
        temperature: Temperature = 0.07,
        learn_temperature: bool = False,
        direction: Direction = "both",
        compare: Compare = "sample",
    ) -> None:
        super().__init__(weight)
        widths("HybridCritic", features=features, latent=latent, embed=embed, hidden_x=hidden_x, hidden_z=hidden_z)
        if isinstance(trunk, nn.Module) or not (isinstance(trunk, str) or callable(trunk)):
            raise BadInput(
                "trunk should be a dotted path such as 'encoder.trunk' or a function of (model, x), "
                f"got {describe(trunk)}; a module would be trained and saved twice"
            )
        self.trunk, self.features = trunk, features
        self.direction = one_of("direction", direction, Direction)
        self.compare = one_of("compare", compare, Compare)
        self.x_head = head(features, hidden_x, embed)
        self.z_tower = head(latent, hidden_z, embed)
        self.score = Cosine(temperature, learn_temperature)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Cross-entropy of naming the partner, (B,) nats, mean over the K samples."""
        zs = compared(draw, self.compare, "HybridCritic")
        h = self.x_head(self.shared(model, draw.x))
        return torch.stack([contrast(self.score(self.z_tower(z), h), self.direction) for z in zs]).mean(0)

    def shared(self, model: Model, x: Tensor) -> Tensor:
        """Features of the model's own trunk, (B, F)."""
        out = found(self.trunk, model)(x) if isinstance(self.trunk, str) else self.trunk(model, x)
        if not isinstance(out, Tensor) or len(out) != len(x) or out[0].numel() != self.features:
            raise ShapeError(
                f"the trunk should give {self.features} features per example because features={self.features}, "
                f"got {describe(out)} for {len(x)} examples"
            )
        return out.flatten(1)

    def after_step(self, model: Model) -> None:
        """Count the step and keep a trained temperature in bounds."""
        super().after_step(model)
        self.score.limit()

    def ceiling(self, batch: int) -> float:
        """log B, or what the fixed temperature leaves of it."""
        return self.score.ceiling(batch)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        trunk = self.trunk if isinstance(self.trunk, str) else shown(self.trunk)
        return (
            f"trunk={trunk!r}, weight={shown(self.weight)}, direction={self.direction!r}, compare={self.compare!r}, "
            f"{towers(self)}"
        )


def tower(name: str | None, shape: Sequence[int], hidden: int, embed: int) -> nn.Sequential:
    """A network from x (B, *X) to (B, E): flattened, or read by the trunk of a named encoder first."""
    shape = check_shape(shape, "NeuralCritic")
    if name is None:
        return nn.Sequential(nn.Flatten(), *head(math.prod(shape), hidden, embed))
    encoder: Any = make("x_tower", name, encoders(), shape, 1)
    return nn.Sequential(encoder.trunk, *head(encoder.features, hidden, embed))


def embedding(out: Any, draw: Draw, what: str) -> Tensor:
    """The output of a tower, if it is one vector per example."""
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(draw.x):
        raise ShapeError(f"{what} should give one vector per example, ({len(draw.x)}, E), got {describe(out)}")
    return out


def found(path: str, model: Any) -> Callable[[Tensor], Any]:
    """The part of the model that a dotted path names."""
    try:
        part = attrgetter(path)(model)
    except AttributeError as error:
        raise BadInput(
            f"the model has no {path!r}; pass trunk= the dotted path of the encoder's first layers, such as "
            "'encoder.0', or a function of (model, x)"
        ) from error
    return cast("Callable[[Tensor], Any]", part)


def towers(critic: NeuralCritic | HybridCritic) -> str:
    """The sizes of a critic's networks, as text."""
    layers = [module for module in critic.modules() if isinstance(module, nn.Linear)]
    return (
        "layers="
        + ",".join(f"{layer.in_features}x{layer.out_features}" for layer in layers)
        + f", {critic.score.extra_repr()}"
    )
