"""Which adapter a model needs, by the libraries that its classes come from."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.diffusers import adapt_diffusers
from uncollapse.adapters.duck import adapt_duck
from uncollapse.adapters.lightning import adapt_lightning
from uncollapse.adapters.pythae import adapt_pythae
from uncollapse.adapters.scvi import adapt_scvi
from uncollapse.adapters.text import adapt_text, takes_tokens
from uncollapse.distributions import Reader
from uncollapse.draw import Model
from uncollapse.errors import BadInput

__all__ = ["adapt"]

LIBRARIES = {"pythae": adapt_pythae, "scvi": adapt_scvi, "diffusers": adapt_diffusers}
LIGHTNING = {"lightning", "pytorch_lightning"}


def adapt(
    model: Any,
    x: Tensor | None = None,
    likelihood: str | Reader | None = None,
    prior: Distribution | None = None,
) -> Adapted:
    """See any VAE as the three questions that the rest of the package asks: posterior, likelihood, prior.

    The model is not changed, only borrowed. What had to be assumed is in `remarks` and `assumed`.

    Arguments:
        model: anything with `posterior`, `likelihood` and `prior` (passed through); a model of pythae, scvi-tools or
            diffusers; a LightningModule; a text VAE with `encode(input_ids, ...)`; or any object with something like
            `encode` and `decode`, or whose `forward` returns mean and log-variance.
        x: (B, *X), some hundred examples as the model takes them. They are what shapes, the reading of outputs and
            the variance of an assumed Gaussian likelihood are found out from.
        likelihood: how a decoder's output is to be read: "bernoulli" (probabilities), "logits", "gaussian" (means),
            a reader such as `FixedGaussian(0.1)`, or None to decide from the values.
        prior: p(z), where the model does not carry it and it is not N(0, I).

    Raises:
        BadInput: when x is needed and missing, or no posterior can be read.
        Unsupported: for a model without a posterior.

    Example:
        >>> class Mine(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.body, self.back = nn.Linear(16, 8), nn.Linear(4, 16)
        ...     def encode(self, x):
        ...         mu, logvar = self.body(x).chunk(2, 1)
        ...         return mu, logvar
        ...     def decode(self, z):
        ...         return self.back(z)
        >>> adapted = uncollapse.adapters.adapt(Mine(), torch.randn(100, 16))
        >>> adapted.kind, uncollapse.draw(adapted.model, torch.randn(5, 16)).kl.shape
        ('encode/decode', torch.Size([5, 4]))
    """
    model = unwrapped(model)
    if isinstance(model, type):
        raise BadInput(f"adapt needs a model, got the class {model.__name__}; call it to make one")
    if isinstance(model, Model):
        return Adapted(model)
    adapted = by_library(model, x, likelihood, prior)
    return replace(adapted, remarks=tuple(map(sentence, adapted.remarks)))


def by_library(model: Any, x: Tensor | None, likelihood: str | Reader | None, prior: Distribution | None) -> Adapted:
    """A model of a library that is known, or one read by its methods."""
    for base in type(model).__mro__:  # the most special class first
        library = base.__module__.split(".")[0]
        if library in LIBRARIES:
            return LIBRARIES[library](model, x, likelihood, prior)
        if library in LIGHTNING:
            return adapt_lightning(model, x, likelihood, prior, by_methods, adapt)
    return by_methods(model, x, likelihood, prior)


def by_methods(model: Any, x: Tensor | None, likelihood: str | Reader | None, prior: Distribution | None) -> Adapted:
    """A model of no library that is known, by the methods that it has."""
    return (adapt_text if takes_tokens(model) else adapt_duck)(model, x, likelihood, prior)


def sentence(remark: str) -> str:
    """A remark with a capital and a full stop; the name of something in code keeps its case."""
    first = remark.split(" ")[0]
    return (remark[:1].upper() + remark[1:] if first.isalpha() else remark).rstrip(".") + "."


def unwrapped(model: Any) -> Any:
    """The model inside DataParallel, DistributedDataParallel, torch.compile, AveragedModel or the like."""
    while isinstance(model, nn.Module):
        inner = getattr(model, "_orig_mod", None)
        if inner is None and [name for name, _ in model.named_children()] == ["module"]:
            inner = model.module
        if inner is None:
            return model
        model = inner
    return model
