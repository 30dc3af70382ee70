"""What all wrappers share: a model in, a model out, everything that is not changed passed on."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.distributions import describe
from uncollapse.draw import Draw, Model, draw
from uncollapse.errors import BadInput
from uncollapse.sides import sides

__all__ = ["Wrapper", "inside", "without_prior"]


class Wrapper(nn.Module):
    """A model round a model: it changes the posterior, the likelihood or the prior and passes on the rest.

    A subclass overrides `posterior`, `likelihood` or `prior`. Wrappers nest: the outermost one acts last.

    Arguments:
        model: a module with `posterior`, `likelihood` and `prior`, such as `VAE` or another wrapper.

    Raises:
        BadInput: when it is no such module.

    Example:
        >>> from uncollapse import VAE
        >>> model = Wrapper(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4))
        >>> model.latent, sorted(model.parts())
        (4, ['decoder', 'encoder', 'prior'])
    """

    sources: tuple[str, ...] = ()  #: how to cite the method, "Authors, Year, Title, link"
    side: str = "encoder"  #: the part of the model that parameters of this wrapper belong to: encoder, decoder, prior

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not isinstance(model, nn.Module) or not isinstance(model, Model):
            raise BadInput(
                f"{type(self).__name__} wraps a module with posterior, likelihood and prior, such as VAE(...), "
                f"got {describe(model)}"
            )
        self.model: Any = model

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, *X) gives batch (B,), event (D,)."""
        return self.model.posterior(x)  # type: ignore[no-any-return]

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event X."""
        return self.model.likelihood(z)  # type: ignore[no-any-return]

    def prior(self) -> Distribution:
        """p(z): batch (), event (D,)."""
        return self.model.prior()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Draw:
        """The same as `draw(self, x)`."""
        return draw(self, x)

    @property
    def encoder(self) -> Any:
        """The encoder inside."""
        return self.model.encoder

    @property
    def decoder(self) -> Any:
        """The decoder inside."""
        return self.model.decoder

    @property
    def latent(self) -> int:
        """D."""
        return self.model.latent  # type: ignore[no-any-return]

    @property
    def read_q(self) -> Any:
        """The reader of the encoder's output."""
        return self.model.read_q

    @property
    def read_x(self) -> Any:
        """The reader of the decoder's output."""
        return self.model.read_x

    @property
    def draws_noise(self) -> bool:
        """Whether posterior or likelihood draw random numbers of their own in evaluation mode, too."""
        return bool(getattr(self.model, "draws_noise", False))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Modules by the part of the model to which their parameters belong; the part named first owns a shared one."""
        inner = sides(self.model)
        own = [module for name, module in self.named_children() if name != "model"]
        bare = nn.ParameterList(self.parameters(recurse=False))
        inner = {
            name: [one for one in inner.get(name, []) if isinstance(one, nn.Module)]
            for name in ("encoder", "decoder", "prior")
        }
        inner[self.side] += [*own, bare]
        return inner


def inside(model: Any) -> Iterator[Any]:
    """The wrappers of a model from the outside in, and at last the model that they are round."""
    while isinstance(model, Wrapper):
        yield model
        model = model.model
    yield model


def without_prior(model: Any, user: str) -> None:
    """Refuse a model whose prior would be replaced without a word.

    Arguments:
        model: what is to be wrapped.
        user: who wraps it; named in the error.

    Raises:
        BadInput: when the model, or a wrapper round it, brings a prior of its own.
    """
    for part in inside(model):
        if (isinstance(part, Wrapper) and part.side == "prior") or getattr(part, "given_prior", None) is not None:
            raise BadInput(f"{user} brings its own prior and {type(part).__name__} has one already; choose one of them")
