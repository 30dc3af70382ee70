"""Models of pythae: their encoders and decoders, their declared likelihood, and a learned prior."""

from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.duck import adapt_duck
from uncollapse.adapters.encoding import on_device
from uncollapse.adapters.observed import Seen, choose, probabilities
from uncollapse.codes import device_of, dtype_of, evaluation
from uncollapse.distributions import FixedGaussian, Folded, Reader, bernoulli, gaussian, standard_normal
from uncollapse.errors import BadInput, Unsupported

__all__ = ["adapt_pythae"]

#: Families whose posterior is not the encoder's diagonal Gaussian.
OTHER = {
    "VAE_IAF": "its posterior is the encoder's Gaussian sent through an inverse autoregressive flow",
    "VAE_LinNF": "its posterior is the encoder's Gaussian sent through a normalising flow",
    "SVAE": "its posterior is a von Mises-Fisher distribution on a sphere",
    "PoincareVAE": "its posterior lives in hyperbolic space",
}
REMARKS = {
    "HVAE": "the posterior is the encoder's Gaussian, before the model's Hamiltonian steps",
    "RHVAE": "the posterior is the encoder's Gaussian, before the model's Hamiltonian steps",
    "INFOVAE_MMD": "the training loss adds a maximum mean discrepancy",
    "FactorVAE": "the training loss adds a penalty on total correlation",
    "IWAE": "the training loss is the importance-weighted bound; what is measured here is the plain one",
}
GUESSED = {"MSSSIM_VAE", "VAEGAN", "Adversarial_AE"}


class Pythae(nn.Module):
    """A model of pythae behind `posterior`, `likelihood` and `prior`.

    Arguments:
        native: the model.
        seen: how reconstructions are read.
        given: the prior, if it is not the model's own.
    """

    def __init__(self, native: nn.Module, seen: Seen, given: Distribution | None = None) -> None:
        super().__init__()
        self.native, self.seen, self.given = native, seen, given

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, *X) gives batch (B,), event (D,)."""
        out = self.native.encoder(x.to(device_of(self), dtype_of(self)))  # type: ignore[operator]
        return gaussian((out.embedding.flatten(1), out.log_covariance.flatten(1)))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event X."""
        flat = z.reshape(-1, z.shape[-1]).to(device_of(self), dtype_of(self))
        px = self.seen.read(self.native.decoder(flat)["reconstruction"])  # type: ignore[operator]
        return px if z.ndim == 2 else Folded(px, Size(z.shape[:-1]))

    def prior(self) -> Distribution:
        """p(z): the mixture of a VAMP model, else N(0, I)."""
        if self.given is not None:
            return self.given
        if hasattr(self.native, "pseudo_inputs"):
            return vamp(self.native)
        return standard_normal(int(self.native.latent_dim), device_of(self))  # type: ignore[arg-type]


def adapt_pythae(
    native: Any, x: Tensor | None = None, likelihood: str | Reader | None = None, prior: Distribution | None = None
) -> Adapted:
    """A model of pythae.

    Arguments:
        native: the model.
        x: (B, *X); needed only where the model declares neither its likelihood nor the shape of its data.
        likelihood: to be used in place of the declared one.
        prior: to be used in place of the model's own.

    Raises:
        Unsupported: for its autoencoders without a posterior, and for posteriors that are no diagonal Gaussians.
        BadInput: when x is needed and missing.
    """
    names = [base.__name__ for base in type(native).__mro__]
    why = next((OTHER[name] for name in names if name in OTHER), "")
    if why:
        raise Unsupported(f"pythae's {names[0]} cannot be read yet: {why}; diagnose its codes through Codes instead")
    if "VAE" not in names and not type(native).__module__.startswith("pythae."):  # somebody's own class on its base
        return adapt_duck(native, x, likelihood, prior)
    if "VAE" not in names or not hasattr(native, "encoder"):
        raise Unsupported(f"pythae's {names[0]} has no posterior q(z|x), so there is nothing that could collapse")
    seen = seen_of(native, names, x, likelihood)
    remarks = [*(REMARKS[name] for name in names if name in REMARKS), seen.remark, weight_of(native)]
    return Adapted(
        Pythae(native, seen, prior),
        kind="pythae",
        remarks=tuple(text for text in remarks if text),
        assumed=seen.assumed,
        loss=training_loss,
    )


def seen_of(native: Any, names: list[str], x: Tensor | None, likelihood: str | Reader | None) -> Seen:
    """The likelihood that the model's configuration declares, or one decided on a batch."""
    shape = native.model_config.input_dim
    shape = tuple(shape) if shape is not None else None if x is None else tuple(x.shape[1:])
    declared = getattr(native.model_config, "reconstruction_loss", None)
    if shape is not None and likelihood is None and declared in {"mse", "bce"} and not GUESSED & set(names):
        # pythae's loss is half the squared error, and its own likelihood has variance 1
        read: Reader = FixedGaussian(1.0)
        if declared == "bce":
            read = bernoulli if {"HVAE", "RHVAE"} & set(names) else probabilities
        return Seen(lambda raw: read(raw.reshape(-1, *shape)))
    if x is None:
        raise BadInput(f"adapt needs a batch of data to read the decoder of pythae's {names[0]}; pass x=")
    with evaluation(native, 0):
        x = on_device(x, native)
        out = native.encoder(x)
        q = gaussian((out.embedding.flatten(1), out.log_covariance.flatten(1)))
        raw = native.decoder(q.rsample().to(dtype_of(native)))["reconstruction"]
        return choose(raw, x, likelihood)


def vamp(native: Any) -> Distribution:
    """The prior of a VAMP model: the mean posterior of its pseudo-inputs."""
    count = native.number_components
    inputs = native.pseudo_inputs(native.idle_input.to(device_of(native), dtype_of(native)))
    out = native.encoder(inputs.reshape(count, *native.model_config.input_dim))
    parts = gaussian((out.embedding, out.log_covariance))
    weights = Categorical(logits=torch.zeros(count, device=device_of(native)), validate_args=False)
    return MixtureSameFamily(weights, parts, validate_args=False)


def weight_of(native: Any) -> str:
    """The KL weight of the training loss, in words, where it is not 1."""
    beta = getattr(native, "beta", None)
    return "" if beta in (None, 1, 1.0) else f"the training loss weighs the KL by beta = {beta:g}"


def training_loss(native: Any, x: Tensor) -> Tensor:
    """pythae's own loss of a batch."""
    loss: Tensor = native({"data": x}).loss
    return loss
