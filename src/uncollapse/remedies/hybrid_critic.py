"""The hybrid critic: a neural critic that reads x with the encoder's own first layers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.distributions import describe
from uncollapse.draw import Draw, Model, called, found, keeping
from uncollapse.errors import BadInput, ShapeError
from uncollapse.remedies.base import Remedy, shown
from uncollapse.remedies.contrast import Compare, Cosine, Direction, Kind, Temperature, head, layers, widths
from uncollapse.remedies.pairs import MENON, Gradient, Side, Task
from uncollapse.remedies.second_pass import still
from uncollapse.schedules import Schedule

__all__ = ["HybridCritic"]

Trunk = str | Callable[[Any, Tensor], Tensor]


class HybridCritic(Remedy):
    r"""A neural critic whose x side starts with the encoder's own first layers.

    As `NeuralCritic`, with $h(x) = \mathrm{head}(\mathrm{trunk}(x))$. The trunk stays the model's: it is looked up in
    the model at every step and never registered here, so no parameter occurs twice, and both losses train it. What the
    part at a dotted path gave in the encoder's pass is used again if the draw kept it (`Objective.of` and `fit` see to
    it); if not, and for a function or the model's own pairs, x is passed once more.

    Arguments:
        features: F, numbers per example that leave the trunk (flattened).
        latent: D.
        trunk: dotted path of the trunk on the model, or of the layer where it ends; or a function of (model, x) that
            returns features (B, ...), which should live in a module, so that it pickles.
        weight, embed, hidden_x, hidden_z, temperature, learn_temperature, direction, compare, side, kind: as for
            `NeuralCritic`.
        gradient: as for `SelfCritic`; "detached" trains the critic and the trunk.

    Raises:
        BadInput: for an unknown choice, a width or temperature that is not positive, a model without that trunk,
            or a batch of one.
        ShapeError: when the trunk does not give F features per example.
        Unsupported: on the model side, when x has no sample with that gradient.

    References:
        Menon, Blei, Vondrick, 2022, https://arxiv.org/abs/2207.09535, the hybrid critic.

    Example:
        >>> from uncollapse import VAE, draw
        >>> encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
        >>> model = VAE(encoder, nn.Linear(4, 16), latent=4)
        >>> critic = HybridCritic(features=32, latent=4, trunk="encoder.0", weight=20.0)
        >>> critic(draw(model, torch.rand(5, 16), keep=critic.keeps), model).shape
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
        side: Side = "inference",
        kind: Kind = "multisample",
        gradient: Gradient = "reparametrised",
    ) -> None:
        super().__init__(weight)
        widths("HybridCritic", features=features, latent=latent, embed=embed, hidden_x=hidden_x, hidden_z=hidden_z)
        if isinstance(trunk, nn.Module) or not (isinstance(trunk, str) or callable(trunk)):
            raise BadInput(
                "trunk should be a dotted path such as 'encoder.trunk' or a function of (model, x), "
                f"got {describe(trunk)}; a module would be trained and saved twice"
            )
        self.trunk, self.features = trunk, features
        self.task = Task(direction, compare, side, kind, gradient)
        self.draws_noise = self.task.on_model
        self.x_head = head(features, hidden_x, embed)
        self.z_tower = head(latent, hidden_z, embed)
        self.score = Cosine(temperature, learn_temperature)

    @property
    def keeps(self) -> tuple[str, ...]:
        """The trunk, if the encoder passes it anyway and it has a path."""
        return (self.trunk,) if isinstance(self.trunk, str) and not self.task.on_model else ()

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Loss of naming the partner, (B,) nats, mean over the K samples."""
        return self.task.loss(self.scores(draw, model))

    def log_ratio(self, draw: Draw, model: Model) -> Tensor:
        """Estimates of log p(x,z)/p(x)p(z) at the pairs, (B,) nats: their mean estimates the mutual information."""
        return self.task.log_ratio(self.scores(draw, model))

    def scores(self, draw: Draw, model: Model) -> list[Tensor]:
        """For each sample a matrix (B, B): row i belongs to z_i, column j to x_j."""
        x, zs = self.task.pairs(draw, model, "HybridCritic")
        h = self.x_head(self.shared(draw, model, x))
        return [self.score(called(self.z_tower, z, "z_tower"), h) for z in zs]

    def shared(self, draw: Draw, model: Model, x: Tensor) -> Tensor:
        """Features of the model's own trunk, (B, F)."""
        if isinstance(self.trunk, str):
            out = passed(model, self.trunk, x, {} if self.task.on_model else draw.kept)
        else:
            with still(model):
                out = self.trunk(model, x)
        if not isinstance(out, Tensor) or len(out) != len(x) or out[0].numel() != self.features:
            raise ShapeError(
                f"the trunk should give {self.features} features per example because features={self.features}, "
                f"got {describe(out)} for {len(x)} examples"
            )
        # kept under autocast, it may be in half precision where the head is not
        return out.flatten(1).to(next(self.x_head.parameters()).dtype)

    def after_step(self, model: Model) -> None:
        """Count the step and keep a trained temperature in bounds."""
        super().after_step(model)
        self.score.limit()

    def ceiling(self, batch: int) -> float | None:
        """log B, or what the fixed temperature leaves of it; None as for `SelfCritic`."""
        return self.score.ceiling(batch) if self.task.caps else None

    def extra_repr(self) -> str:
        """Shown by `print`."""
        trunk = self.trunk if isinstance(self.trunk, str) else shown(self.trunk)
        ends = f"{layers(self)}, {self.score.extra_repr()}"
        return f"trunk={trunk!r}, weight={shown(self.weight)}, {self.task}, {ends}"


def passed(model: Any, path: str, x: Tensor, kept: Mapping[str, Any]) -> Any:
    """What the part at a path gives in the encoder's pass of x: as kept then, or passed anew, or called by itself."""
    part = found(model, path)
    if not isinstance(part, nn.Module):
        raise BadInput(
            f"the model has no module {path!r}; pass trunk= the dotted path of the encoder's first layers, such as "
            "'encoder.0', or a function of (model, x)"
        )
    if serves(kept.get(path), part):
        return kept[path]
    with still(model):
        with keeping(model, [path]) as again:
            model.posterior(x)
        return again[path] if serves(again.get(path), part) else part(x)


def serves(out: Any, part: nn.Module) -> bool:
    """Whether an output was kept, with its gradient: a first pass under a checkpoint has none."""
    if not isinstance(out, Tensor):
        return False
    return out.requires_grad or not torch.is_grad_enabled() or not any(p.requires_grad for p in part.parameters())
