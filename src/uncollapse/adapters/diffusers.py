"""Autoencoders of diffusers: spatial latents, no declared likelihood."""

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.duck import adapt_duck
from uncollapse.adapters.encoding import on_device
from uncollapse.codes import evaluation
from uncollapse.distributions import Reader
from uncollapse.errors import BadInput, Unsupported

__all__ = ["adapt_diffusers"]


def adapt_diffusers(
    native: Any, x: Tensor | None = None, likelihood: str | Reader | None = None, prior: Distribution | None = None
) -> Adapted:
    """An `AutoencoderKL` or another autoencoder of diffusers whose `encode` returns a `latent_dist`.

    Arguments:
        native: the model.
        x: (B, C, H, W), images as the model takes them, usually in [-1, 1].
        likelihood: "gaussian" if None, with the residuals' own variance, because diffusers declares none.
        prior: p(z); N(0, I) if None.

    Raises:
        BadInput: when x is missing.
        Unsupported: for autoencoders without a posterior (AutoencoderTiny, AutoencoderDC, VQModel).
    """
    if x is None:
        raise BadInput("adapt needs a batch of images to see the shape of this model's latents; pass x=")
    with evaluation(native, 0):
        raw = native.encode(on_device(x, native)[:1])
    if not hasattr(raw, "latent_dist"):
        if not type(native).__module__.startswith("diffusers."):  # somebody's own class on its base
            return adapt_duck(native, x, likelihood, prior)
        raise Unsupported(f"diffusers' {type(native).__name__} encodes to a code without a posterior q(z|x)")
    adapted = adapt_duck(native, x, likelihood or "gaussian", prior, kind="diffusers")
    return replace(adapted, remarks=(*adapted.remarks, *scaling(native)))


def scaling(native: Any) -> tuple[str, ...]:
    """What a diffusion model makes of these latents."""
    factor = getattr(native.config, "scaling_factor", None)
    if not isinstance(factor, int | float) or factor == 1:
        return ()
    return (
        f"a diffusion model on top sees {factor:g} times these latents (scaling_factor); here they are as the encoder "
        "gives them, against N(0, I) as in the autoencoder's own kl()",
    )
