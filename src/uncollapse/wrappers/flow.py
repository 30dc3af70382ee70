"""A prior that is a normalising flow, from the library zuko (an extra: `flows`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.errors import BadInput, Unsupported
from uncollapse.wrappers.base import Wrapper, inside, without_prior
from uncollapse.wrappers.sphere import VonMisesFisher

__all__ = ["FlowPrior"]

Kind = Literal["nsf", "maf"]


class FlowPrior(Wrapper):
    r"""The prior is a normalising flow that is trained with the model.

    $p(z) = \mathcal N\big(f(z); 0, I\big)\,\big|\det \partial f/\partial z\big|$ with an autoregressive f: rational
    quadratic splines ("nsf") or affine maps ("maf"). The KL is sampled with the z of the pass, (B, 1), and can be
    negative by chance. The prior learns where the codes are, so it lowers the mismatch KL(q(z)||p(z)); it does not ask
    for information. Splines bend z in [-5, 5] only, and drawing from the prior takes D passes.

    Arguments:
        model: a model with D latents in Euclidean space.
        latent: D; the model's own if None.
        kind: "nsf" or "maf".
        transforms: how many maps follow each other.
        hidden: widths of the hidden layers of each map's network.

    Raises:
        Unsupported: when zuko is not installed.
        BadInput: when an argument is out of range, the codes lie on a sphere, or `model` has a prior of its own.

    References:
        Papamakarios, Pavlakou, Murray, 2017, https://arxiv.org/abs/1705.07057 (maf);
        Durkan et al., 2019, https://arxiv.org/abs/1906.04032 (nsf);
        Chen et al., 2017, https://arxiv.org/abs/1611.02731, for an autoregressive flow as the prior of a VAE.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = FlowPrior(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), kind="maf", hidden=(32,))
        >>> draw(model, torch.rand(5, 16)).kl.shape
        torch.Size([5, 1])
    """

    sources = (
        "Chen et al., 2017, Variational Lossy Autoencoder, https://arxiv.org/abs/1611.02731",
        "Durkan et al., 2019, Neural Spline Flows, https://arxiv.org/abs/1906.04032",
        "Papamakarios, Pavlakou, Murray, 2017, Masked Autoregressive Flow for Density Estimation, "
        "https://arxiv.org/abs/1705.07057",
    )
    side = "prior"

    def __init__(
        self,
        model: Any,
        latent: int | None = None,
        kind: Kind = "nsf",
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__(model)
        if any(isinstance(part, VonMisesFisher) for part in inside(model)):
            raise BadInput("FlowPrior is a density in space and the codes lie on a sphere; take VampPrior there")
        without_prior(model, "FlowPrior")
        own = model.prior().event_shape[0]
        if latent not in (None, own):
            raise BadInput(f"the model has {own} latents, got latent={latent!r}; leave it out")
        if kind not in get_args(Kind):
            raise BadInput(f"kind should be one of {', '.join(get_args(Kind))}, got {kind!r}")
        for name, value in (("transforms", transforms), *(("hidden", width) for width in hidden)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} should be made of positive whole numbers, got {value!r}")
        flows = zuko_flows()
        made = {"nsf": flows.NSF, "maf": flows.MAF}[kind]
        self.flow = made(own, transforms=transforms, hidden_features=tuple(hidden))

    def prior(self) -> Distribution:
        """p(z), in float32 or better also under autocast: batch (), event (D,)."""
        return Exact(self.flow())

    def __getstate__(self) -> Any:
        return LOADER, super().__getstate__()  # type: ignore[no-untyped-call]

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[1])  # type: ignore[no-untyped-call]


class Exact(Distribution):
    """A distribution with event (D,) whose numbers are computed outside autocast.

    Arguments:
        base: batch (), event (D,).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)
    support = constraints.real_vector

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of points (*, D), (*) nats."""
        with torch.autocast(value.device.type, enabled=False):
            return self.base.log_prob(value)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Points (*S, D), without gradient."""
        return self.base.sample(Size(sample_shape))


def zuko_flows() -> Any:
    """The module `zuko.flows`.

    Raises:
        Unsupported: when zuko is not installed.
    """
    if find_spec("zuko") is None:
        raise Unsupported("FlowPrior needs zuko, which is not installed: pip install 'uncollapse[flows]'")
    with validation_kept():
        import zuko.flows
    return zuko.flows


@contextmanager
def validation_kept() -> Iterator[None]:
    """Put back whether torch's distributions check their arguments: importing zuko switches it off for everybody."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


class Loader:
    """Stands first in a pickled `FlowPrior`, so that zuko is imported with care before its classes are looked up."""

    def __reduce__(self) -> Any:
        return loaded, ()


LOADER = Loader()


def loaded() -> Loader:
    """What a pickled `Loader` becomes; imports zuko."""
    zuko_flows()
    return LOADER
