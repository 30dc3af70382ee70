r"""The pairs that a critic is asked about: where they come from, and how its answers are marked.

- `side`: "inference" takes the pairs of the batch, $q(x,z) = p_D(x)\,q(z|x)$, and raises their information $I_q$.
  "model" takes as many pairs that the model makes up, $p(x,z) = p(z)\,p(x|z)$, and raises $I_p$, which leaves $I_q$
  where it is. For both, list two critics: the best critic of one side is not that of the other.
- `gradient` is how the model's pairs depend on the decoder. "reparametrised" needs a likelihood whose samples have a
  gradient (Gaussian). "straight_through" draws exact samples and lets the gradient pass by their mean: the value is
  right, the gradient is biased. "detached" takes them as constants: the decoder learns nothing from the term.
- `kind`: "multisample" asks which of B candidates is the partner (InfoNCE), "binary" whether a pair is a true one.
- `direction`: "x" asks each z for its x, "z" each x for its z, "both" is their mean. A binary critic is asked about
  single pairs, so there it only says which example is charged for a wrong pair; the mean is the same.

References:
    Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535 (inference critic, model critic);
    Bengio, Leonard, Courville, 2013, https://arxiv.org/abs/1308.3432 (straight-through gradient).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from uncollapse.draw import Draw, Model, sample
from uncollapse.errors import BadInput, ShapeError, Unsupported
from uncollapse.remedies.base import one_of
from uncollapse.remedies.contrast import Compare, Direction, Kind, compared, contrast, log_ratio
from uncollapse.remedies.second_pass import still

__all__ = ["Gradient", "Pairs", "Side", "Task"]

MENON = (
    "Menon, Blei, Vondrick, 2022, Forget-me-not! Contrastive Critics for Mitigating Posterior Collapse, "
    "https://arxiv.org/abs/2207.09535"
)

Side = Literal["inference", "model"]
Gradient = Literal["reparametrised", "straight_through", "detached"]

WAYS_OUT = {
    "detached": (
        "gradient='detached' takes its samples as constants, so that the term trains the encoder and the critic on "
        "the model's own pairs, and the decoder not at all"
    ),
    "straight_through": "gradient='straight_through' lets a biased gradient pass by the mean",
}


class Pairs(NamedTuple):
    """Inputs x (B, *X) and codes zs (K, B, D): zs[k, i] is a partner of x[i]."""

    x: Tensor
    zs: Tensor


@dataclass(frozen=True)
class Task:
    """What a critic is asked, and how it is marked; the arguments are those of the critics.

    Raises:
        BadInput: for an unknown choice, or choices that do not go together.
    """

    direction: Direction
    compare: Compare
    side: Side
    kind: Kind
    gradient: Gradient

    def __post_init__(self) -> None:
        one_of("direction", self.direction, Direction)
        one_of("compare", self.compare, Compare)
        one_of("side", self.side, Side)
        one_of("kind", self.kind, Kind)
        one_of("gradient", self.gradient, Gradient)
        if self.on_model and self.compare == "mean":
            raise BadInput('on the model side codes are samples of the prior: compare should be "sample", got "mean"')
        if not self.on_model and self.gradient != "reparametrised":
            raise BadInput(f'gradient={self.gradient!r} concerns the pairs of side="model", but side is "inference"')

    @property
    def on_model(self) -> bool:
        """Whether the pairs are the model's own."""
        return self.side == "model"

    @property
    def caps(self) -> bool:
        """Whether the information of the data's codes is at least log B minus the loss."""
        return self.kind == "multisample" and not self.on_model

    def pairs(self, draw: Draw, model: Model, user: str) -> Pairs:
        """B pairs: those of the batch, or fresh ones of the model (one code each, whatever K)."""
        codes = compared(draw, self.compare, user)
        return made_up(draw, model, self.gradient, user) if self.on_model else Pairs(draw.x, codes)

    def loss(self, scores: list[Tensor]) -> Tensor:
        """(B,) nats, mean over the K matrices (B, B) of scores."""
        return torch.stack([contrast(one, self.direction, self.kind) for one in scores]).mean(0)

    def log_ratio(self, scores: list[Tensor]) -> Tensor:
        """Estimates of the log density ratio (B,), nats, mean over the K matrices (B, B) of scores."""
        return torch.stack([log_ratio(one, self.kind) for one in scores]).mean(0)

    def __str__(self) -> str:
        ends = f", gradient={self.gradient!r}" if self.on_model else ""
        return f"direction={self.direction!r}, compare={self.compare!r}, side={self.side!r}, kind={self.kind!r}{ends}"


def made_up(draw: Draw, model: Model, gradient: Gradient, user: str) -> Pairs:
    """As many pairs as the batch has, from the model: z ~ p(z), x ~ p(x|z)."""
    with still(model), torch.set_grad_enabled(torch.is_grad_enabled() and gradient != "detached"):
        z = sample(draw.prior, len(draw.x))
        x = observed(model.likelihood(z), gradient, user)
    if x.shape != draw.x.shape:
        raise ShapeError(f"the model's samples of x should have the shape {tuple(draw.x.shape)}, got {tuple(x.shape)}")
    return Pairs(x, z.unsqueeze(0))


def observed(px: Distribution, gradient: Gradient, user: str) -> Tensor:
    """One sample of every p(x|z), (B, *X).

    Raises:
        Unsupported: when the family has no sample with this kind of gradient.
    """
    if gradient == "reparametrised":
        if px.has_rsample:
            return px.rsample()
        raise Unsupported(
            f"samples of {family(px)} have no gradient to the decoder, which side='model' of {user} asks for; "
            f"{WAYS_OUT['detached']}; {WAYS_OUT['straight_through']}"
        )
    try:
        x = px.sample()
    except NotImplementedError as error:
        raise Unsupported(f"side='model' of {user} needs samples of x, but {family(px)} has none: {error}") from error
    return x if gradient == "detached" else x + passed_by(px, x, user)


def passed_by(px: Distribution, x: Tensor, user: str) -> Tensor:
    """Zeros (B, *X) whose gradient is that of the mean."""
    try:
        mean = px.mean
    except NotImplementedError as error:
        raise Unsupported(
            f"gradient='straight_through' of {user} needs the mean of p(x|z), and {family(px)} has none; "
            f"{WAYS_OUT['detached']}"
        ) from error
    if not x.is_floating_point() or mean.shape != x.shape:
        raise Unsupported(
            f"gradient='straight_through' of {user} needs numbers with a mean, but {family(px)} describes "
            f"{x.dtype}; {WAYS_OUT['detached']}"
        )
    return mean - mean.detach()


def family(px: Distribution) -> str:
    """The name of a distribution, whatever it is wrapped in."""
    while isinstance(px, Independent):
        px = px.base_dist
    return type(px).__name__
