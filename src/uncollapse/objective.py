"""The loss: distortion, the (reshaped) rate, and the remedies, each term by name."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from uncollapse.draw import Draw, Model, draw
from uncollapse.errors import BadInput
from uncollapse.remedies import Inner, Remedy
from uncollapse.sides import sides

__all__ = ["Objective", "parts_of"]


class Objective(nn.Module):
    r"""Negative ELBO with remedies.

    $\mathcal L(x) = -\log p(x|z) + \sum_j r(\mathrm{KL}_j) + \sum_m w_m(t)\, T_m(x)$, where r is the
    composition of all `rate` methods in the order of the list, so `[Anneal, FreeBits]` is not `[FreeBits, Anneal]`.

    Arguments:
        remedies: any number of remedies.

    Raises:
        BadInput: when one of them is not a `Remedy`.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> terms = Objective()(draw(model, torch.rand(5, 16)), model)
        >>> {name: tuple(term.shape) for name, term in terms.items()}
        {'distortion': (5,), 'rate': (5,)}
    """

    def __init__(self, remedies: Sequence[Remedy] = ()) -> None:
        super().__init__()
        if isinstance(remedies, Remedy) or not isinstance(remedies, Sequence):
            raise BadInput(
                f"Objective expects a list of remedies, got {type(remedies).__name__}; write Objective([...])"
            )
        for remedy in remedies:
            if not isinstance(remedy, Remedy):
                raise BadInput(f"Objective expects a list of remedies, got {remedy!r}; did you forget to call a class?")
        self.remedies = nn.ModuleList(remedies)
        self.names = unique([snake(type(remedy).__name__) for remedy in remedies])
        self._members = list(zip(self.names, remedies, strict=True))

    def forward(self, draw: Draw, model: Model) -> dict[str, Tensor]:
        """Named terms, each (B,) nats; their sum is minimised. Nothing is averaged yet."""
        log_px = draw.log_px
        mean = log_px.mean(0) if len(log_px) > 1 else log_px.squeeze(0)
        terms = {"distortion": -mean, "rate": self.rate(draw.kl).sum(1)}
        for name, remedy in self.members():
            if remedy.has_term:
                terms[name] = remedy(draw, model)
        return terms

    def of(self, model: Model, x: Tensor, samples: int = 1) -> dict[str, Tensor]:
        """Named terms of a batch (B, *X) as loaded: prepared (in training mode), drawn once, and scored."""
        if self.training:
            for _, remedy in self.members():
                x = remedy.prepare(x)
        return self(draw(model, x, samples, self.keeps), model)  # type: ignore[no-any-return]

    @property
    def keeps(self) -> list[str]:
        """What `draw` should keep on the way because a remedy asks for it."""
        return sorted({path for _, remedy in self.members() for path in remedy.keeps})

    def members(self) -> list[tuple[str, Remedy]]:
        """Names and remedies, in order."""
        return self._members

    def rate(self, kl: Tensor) -> Tensor:
        """The KL after all remedies that reshape it, (B, D) nats."""
        for _, remedy in self.members():
            kl = remedy.rate(kl)
        return kl

    def score(self, draw: Draw, model: Model) -> Tensor:
        """What checkpoints are compared by: the negative ELBO and what every remedy adds in the end, (B,) nats.

        Schedules make the training loss of two moments incomparable; this is the same function at every step.
        """
        total = draw.kl.sum(1) - draw.log_px.mean(0)
        for _, remedy in self.members():
            total = total + remedy.settled(draw, model)
        return total

    def before_step(self, inner: Inner) -> frozenset[str]:
        """Let every remedy work ahead of the step; the union of the parts they freeze."""
        return frozenset().union(*(remedy.before_step(inner) for _, remedy in self.members()))

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """Let every remedy move its own state."""
        for _, remedy in self.members():
            remedy.after_step(model)

    @property
    def arrives(self) -> int:
        """The step at which every schedule has become final."""
        return max((remedy.arrives for _, remedy in self.members()), default=0)

    def bounds(self, means: Mapping[str, float], batch: int) -> dict[str, float]:
        """The lower bound of the information that each contrastive term stands for: its ceiling minus its mean, nats.

        Arguments:
            means: mean weighted terms by name, at the present weights.
            batch: B, which the ceilings depend on.
        """
        found = {}
        for name, remedy in self.members():
            ceiling, weight = remedy.ceiling(batch), remedy.current_weight
            if ceiling is not None and weight > 0 and name in means and remedy.arrives <= remedy.step:
                found[name] = ceiling - means[name] / weight
        return found

    def weights(self) -> dict[str, float]:
        """The current weight of every remedy, by name."""
        return {name: remedy.current_weight for name, remedy in self.members()}


def parts_of(model: nn.Module, remedies: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters by part, each exactly once: encoder, decoder, other, remedies.

    A model says with a method `parts()`, {name: modules}, what belongs to its encoder and to its decoder; without
    one, its attributes of these names count, and the readers of their output.
    """
    seen: set[int] = set()
    groups: dict[str, list[nn.Parameter]] = {}
    for name, members in {**sides(model), "other": [model], "remedies": [remedies]}.items():
        parameters = [p for owner in members if isinstance(owner, nn.Module) for p in owner.parameters()]
        groups[name] = []
        for parameter in parameters:
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[name].append(parameter)
    return groups


def snake(name: str) -> str:
    """SelfCritic becomes self_critic."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def unique(names: list[str]) -> list[str]:
    """Repeated names get a number: a, b, a becomes a, b, a_2; the loss's own names stay reserved."""
    seen = {"distortion": 1, "rate": 1, "loss": 1}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out
