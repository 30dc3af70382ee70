"""Several VAEs and their objectives as one pass: which can be joined, and how."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn.modules.dropout import _DropoutNd

from uncollapse import remedies
from uncollapse.distributions import FixedGaussian, Folded, bernoulli, diagonal, gaussian
from uncollapse.draw import VAE, Draw
from uncollapse.errors import Unsupported
from uncollapse.likelihoods import DiscretisedLogistic, LearnedGaussian
from uncollapse.objective import Objective
from uncollapse.seeds.layers import Weights, stacked

__all__ = ["Closed", "Together", "check_objectives", "terms_of"]

READERS = (FixedGaussian, LearnedGaussian, DiscretisedLogistic)  #: each example by itself, once without parameters
RESHAPING = (remedies.Beta, remedies.Anneal, remedies.Cyclical, remedies.FreeBits)
OWN = (
    *RESHAPING, remedies.Capacity, remedies.TargetRate, remedies.ControlVAE, remedies.GECO, remedies.MAE,
    remedies.SelfCritic, remedies.NeuralCritic, remedies.MINE,
)  # fmt: skip
"""Remedies that need a draw and nothing else of the model."""


class Closed:
    """Stands where a remedy expects the model: whoever asks it anything could not be joined."""

    def __getattr__(self, name: str) -> Any:
        raise Unsupported(f"a remedy asked for the model's {name}, which seeds that run together do not have")


class Together:
    """S VAEs of one architecture as one; examples are ordered by seed.

    Arguments:
        models: one a seed.
        weights: takes up the stacked weights.

    Raises:
        Unsupported: when they cannot be joined; the message says which part is in the way.
    """

    def __init__(self, models: Sequence[Any], weights: Weights) -> None:
        check_models(models)
        lead = models[0]
        self.seeds, self.latent = len(models), lead.latent
        self.encode = stacked([one.encoder for one in models], weights)
        self.decode = stacked([one.decoder for one in models], weights)
        self.read_x, self.prior = lead.read_x, lead.prior
        inside = {id(p) for held in weights.held for p in held.members}
        if any(id(p) not in inside for one in models for p in one.parameters()):
            raise Unsupported("the models have parameters outside of their layers")

    def draw(self, x: Tensor, noise: Tensor) -> Draw:
        """A draw of all S * B examples.

        Arguments:
            x: (S, B, *X).
            noise: (S, K, B, D), standard normal.
        """
        seeds, samples, size, latent = noise.shape
        q = gaussian(self.encode(x).flatten(0, 1))
        mean, scale = diagonal(q, "Together")
        z = mean + noise.transpose(0, 1).reshape(samples, seeds * size, latent) * scale
        codes = z.view(samples, seeds, size, latent).transpose(0, 1).reshape(seeds, samples * size, latent)
        raw = torch.unflatten(self.decode(codes), 1, (samples, size)).transpose(0, 1).flatten(0, 2)
        px = Folded(self.read_x(raw), torch.Size((samples, seeds * size)))
        return Draw(x.flatten(0, 1), q, z, px, self.prior())


def check_models(models: Sequence[Any]) -> None:
    """Refuse models whose parts are not known to treat each example by itself."""
    lead = models[0]
    for one in models:
        if type(one) is not VAE:
            raise Unsupported(f"only a VAE made of an encoder and a decoder can be joined, got a {type(one).__name__}")
        if one._forward_hooks or one._forward_pre_hooks or one.given_prior is not None:
            raise Unsupported("a model has hooks or a prior of its own")
        if one.read_q is not gaussian:
            raise Unsupported("the posteriors are not read by distributions.gaussian")
        known = one.read_x is bernoulli or type(one.read_x) in READERS
        bare = not isinstance(one.read_x, nn.Module) or not any(True for _ in one.read_x.parameters())
        if not (known and bare):
            raise Unsupported(f"the likelihood's reader {one.read_x!r} is not known to read each example by itself")
        if one.latent != lead.latent or repr(one.read_x) != repr(lead.read_x):
            raise Unsupported("the models differ in their latents or their likelihoods")


def check_objectives(objectives: Sequence[Objective]) -> None:
    """Refuse remedies that need more than their own seed's part of a draw."""
    for objective in objectives:
        if type(objective) is not Objective:
            raise Unsupported(f"a {type(objective).__name__} may do what an Objective does not")
        if objective.names != objectives[0].names:
            raise Unsupported("the objectives have different remedies")
        for _, one in objective.members():
            noisy = one.draws_noise or any(isinstance(part, _DropoutNd) and part.p for part in one.modules())
            if type(one) not in OWN or noisy or one.keeps:
                raise Unsupported(f"{type(one).__name__} needs the model, or noise of its own")


def alike(objectives: Sequence[Objective]) -> bool:
    """Whether one objective speaks for all: remedies without state that reshape the KL of each example by itself."""
    for group in zip(*(objective.members() for objective in objectives), strict=True):
        parts = [one for _, one in group]
        lead = parts[0]
        if type(lead) not in RESHAPING or getattr(lead, "mode", "") == "batch_mean":
            return False
        if any(one.weight != lead.weight or one.extra_repr() != lead.extra_repr() for one in parts):
            return False
    return True


def terms_of(objectives: Sequence[Objective], one: Draw) -> dict[str, Tensor]:
    """Named terms of a joint draw, (S, B) nats each; a remedy never sees the examples of another seed."""
    seeds, closed = len(objectives), Closed()
    if alike(objectives):
        return {name: term.view(seeds, -1) for name, term in objectives[0](one, closed).items()}
    size = len(one.x) // seeds
    rows = [slice(s * size, (s + 1) * size) for s in range(seeds)]
    found = [objective(part_of(one, piece), closed) for objective, piece in zip(objectives, rows, strict=True)]
    return {name: torch.stack([terms[name] for terms in found]) for name in found[0]}


def part_of(one: Draw, rows: slice) -> Draw:
    """The draw of one seed, with the densities that the joint one has."""
    mean, scale = diagonal(one.q, "part_of")
    q = Independent(Normal(mean[rows], scale[rows], validate_args=False), 1, validate_args=False)
    part = Draw(one.x[rows], q, one.z[:, rows], Slice(one.px, rows), one.prior)
    part.__dict__.update(log_px=one.log_px[:, rows], kl=one.kl[rows])
    return part


class Slice(Distribution):
    """The likelihood of some examples of a joint draw; the densities of the batch itself are at hand already."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, whole: Distribution, rows: slice) -> None:
        self.whole, self.rows = whole, rows
        size = torch.Size((whole.batch_shape[0], rows.stop - rows.start))
        super().__init__(size, whole.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of the whole."""
        return self.whole.support

    @property
    def mean(self) -> Tensor:
        """Mean, (K, B, *X)."""
        return self.whole.mean[:, self.rows]

    @property
    def variance(self) -> Tensor:
        """Variance, (K, B, *X)."""
        return self.whole.variance[:, self.rows]
