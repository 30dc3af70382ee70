"""The neural critic: networks of its own tell which latent belongs to which input."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from uncollapse.distributions import describe
from uncollapse.draw import Draw, Model, called
from uncollapse.errors import BadInput, ShapeError
from uncollapse.nets.build import encoders, make
from uncollapse.nets.shapes import check_shape
from uncollapse.remedies.base import Remedy, shown
from uncollapse.remedies.contrast import Compare, Cosine, Direction, Kind, Temperature, head, layers, widths
from uncollapse.remedies.pairs import MENON, Gradient, Side, Task
from uncollapse.schedules import Schedule

__all__ = ["NeuralCritic"]

CLIP = (
    "Radford et al., 2021, Learning Transferable Visual Models From Natural Language Supervision, "
    "https://arxiv.org/abs/2103.00020"
)


class NeuralCritic(Remedy):
    r"""Two networks embed x and z; a pair is scored by the cosine of its embeddings.

    $T_i = -\log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}$, $s_{ij} = \cos(g(z_i), h(x_j)) / \tau$, mean of both directions
    by default; with `kind="binary"` the logistic loss of the same scores, which then are log density ratios. The
    gradient reaches the encoder through z; on the model side it reaches the decoder through x, and not the encoder.
    Its parameters belong into the optimiser.

    Arguments:
        shape: X, shape of one observation.
        latent: D.
        weight: number or schedule.
        embed: width E of the shared space.
        hidden_x, hidden_z: widths of the hidden layers.
        temperature: tau; "raw" is the trainable multiplier of the re-implementation report, which starts at
            log(1/0.07) = 2.659 (not 1/0.07 = 14.3) and so caps the bound near 2.5 nats until it has grown.
        learn_temperature: train log(1/tau), capped at 1/tau = 100.
        direction, compare, side, kind, gradient: as for `SelfCritic`, except that "detached" is refused: nothing of
            the model would learn.
        x_tower: what reads x before the hidden layer: None flattens it; the name of an encoder of `uncollapse.nets`
            builds a fresh one ("conv-small", say); a module of one's own maps x (B, *X) to (B, E) itself.
        vocabulary: V, where x are rows of token ids (T,): a named encoder of text is told it, and without a name x is
            read by an LSTM over word vectors ("lstm").

    Raises:
        BadInput: for an unknown choice, a width or temperature that is not positive, or a batch of one.
        ShapeError: when x, z or a tower's output has the wrong shape.
        Unsupported: on the model side, when x has no sample with that gradient.

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
        side: Side = "inference",
        kind: Kind = "multisample",
        gradient: Gradient = "reparametrised",
        vocabulary: int | None = None,
    ) -> None:
        super().__init__(weight)
        widths("NeuralCritic", latent=latent, embed=embed, hidden_x=hidden_x, hidden_z=hidden_z)
        self.task = Task(direction, compare, side, kind, gradient)
        if gradient == "detached":
            raise BadInput(
                "gradient='detached' would train a NeuralCritic and nothing of the model; "
                "SelfCritic and HybridCritic train the encoder then, gradient='straight_through' the decoder"
            )
        self.draws_noise, self.reaches_encoder = self.task.on_model, not self.task.on_model
        if not isinstance(x_tower, nn.Module):
            x_tower = tower(x_tower, shape, hidden_x, embed, vocabulary)
        self.x_tower = x_tower
        self.z_tower = head(latent, hidden_z, embed)
        self.score = Cosine(temperature, learn_temperature)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """What reads x."""
        return (self.x_tower,)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Loss of naming the partner, (B,) nats, mean over the K samples."""
        return self.task.loss(self.scores(draw, model))

    def log_ratio(self, draw: Draw, model: Model) -> Tensor:
        """Estimates of log p(x,z)/p(x)p(z) at the pairs, (B,) nats: their mean estimates the mutual information."""
        return self.task.log_ratio(self.scores(draw, model))

    def scores(self, draw: Draw, model: Model) -> list[Tensor]:
        """For each sample a matrix (B, B): row i belongs to z_i, column j to x_j."""
        x, zs = self.task.pairs(draw, model, "NeuralCritic")
        h = embedding(called(self.x_tower, x, "x_tower"), x, "x_tower")
        return [self.score(called(self.z_tower, z, "z_tower"), h) for z in zs]

    def after_step(self, model: Model) -> None:
        """Count the step and keep a trained temperature in bounds."""
        super().after_step(model)
        self.score.limit()

    def ceiling(self, batch: int) -> float | None:
        """log B, or what the fixed temperature leaves of it; None as for `SelfCritic`."""
        return self.score.ceiling(batch) if self.task.caps else None

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"weight={shown(self.weight)}, {self.task}, {layers(self)}, {self.score.extra_repr()}"


def tower(
    name: str | None, shape: Sequence[int], hidden: int, embed: int, vocabulary: int | None = None
) -> nn.Sequential:
    """A network from x (B, *X) to (B, E): flattened, or read by the trunk of a named encoder first."""
    shape = check_shape(shape, "NeuralCritic")
    if name is None and vocabulary is None:
        return nn.Sequential(nn.Flatten(), *head(math.prod(shape), hidden, embed))
    encoder: Any = make("x_tower", name or "lstm", encoders(), shape, 1, vocabulary)
    return nn.Sequential(encoder.trunk, *head(encoder.features, hidden, embed))


def embedding(out: Any, x: Tensor, what: str) -> Tensor:
    """The output of a tower, if it is one vector per example."""
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(x):
        raise ShapeError(f"{what} should give one vector per example, ({len(x)}, E), got {describe(out)}")
    return out
