r"""Latent reconstruction: what the decoder made of a code, the encoder must read back.

Setting: $D(z)$ is the mean of the likelihood, $E_\mu(x)$ the mean of the posterior. Where $E_\mu \circ D$ is the
identity, D is injective, whatever the networks look like, and the code is identifiable.

Who learns from it is an argument, because the paper and several versions of its code disagree: where z comes from
(`source`), whether it is cut off from the encoder that gave it (`detach`), and which gradients flow (`flow`,
`encoder_scale`).
"""

from typing import Any, Literal, cast

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.distributions import precise
from uncollapse.draw import Draw, Model
from uncollapse.errors import BadInput, Unsupported
from uncollapse.remedies.base import Remedy, at_least_zero, one_of, shown
from uncollapse.remedies.contrast import positive
from uncollapse.remedies.rate import steps
from uncollapse.remedies.second_pass import frozen, still
from uncollapse.schedules import Linear, Schedule

__all__ = ["LatentReconstruction"]

Source = Literal["prior", "posterior"]
Flow = Literal["both", "decoder", "encoder"]
Decode = Literal["mean", "expected"]


class LatentReconstruction(Remedy):
    r"""The encoder must find the code again that an observation was decoded from (LR-VAE).

    $T = \lVert E_\mu(D(z)) - z \rVert^2$, summed over latents, with $z \sim p(z)$ or $z \sim q(z|x)$. It never looks at
    the data: networks that whisper to each other where no data are satisfy it, and codes may inflate. Read the
    information and KL(q(z)||p(z)) (`metrics.kl(codes).joint_mismatch`), not this loss. Normalisation layers use the
    statistics of what passes, but do not remember those of this term's passes.

    Arguments:
        weight: alpha, a number or a schedule.
        source: "prior" draws z anew for every batch; "posterior" takes the batch's own codes.
        flow: which networks learn from it. "decoder" lets the gradient through the second encoder pass, but not into
            the encoder's weights; "encoder" cuts it at D(z).
        encoder_scale: lambda, a factor on every gradient of the encoder's weights; the authors' code has 1e-4.
        detach: for posterior codes, whether z is cut off from the encoder pass that gave it.
        share: codes per example of the batch; for posterior codes at most 1. Examples are given their own error where
            each lends its code, and the mean otherwise.
        spread: standard deviation of prior codes, in units of the prior's.
        warmup: steps over which a weight that is a number rises from 0 along a line.
        decode: "mean" is D(z) of the paper. "expected" is a variant of ours for autoregressive decoders, which have no
            cheap mean: the expectation of every pixel given z and the true pixels before it, of examples of the batch.

    Raises:
        BadInput: for an unknown choice, or arguments that do not go together.
        Unsupported: when the likelihood has no differentiable mean, or no `expected` where that was asked for.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> LatentReconstruction(weight=1.0, warmup=1000)(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (
        "Song, Kim, Lee, 2025, LR-VAE (latent reconstruction against local posterior collapse), "
        "https://arxiv.org/abs/2508.12530",
    )

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        source: Source = "prior",
        flow: Flow = "both",
        encoder_scale: float = 1.0,
        detach: bool = True,
        share: float = 0.25,
        spread: float = 1.0,
        warmup: int | None = None,
        decode: Decode = "mean",
    ) -> None:
        super().__init__(weight if warmup is None else rising(weight, warmup))
        self.source = one_of("source", source, Source)
        self.flow = one_of("flow", flow, Flow)
        self.decode = one_of("decode", decode, Decode)
        self.share, self.spread = positive("share", share), positive("spread", spread)
        if source == "posterior" and (share > 1 or spread != 1):
            raise BadInput(
                "with source='posterior' the codes are those of the batch, so share is at most 1 and spread is 1; "
                f"got share={share!r} and spread={spread!r}"
            )
        if flow == "decoder" and encoder_scale != 1:
            raise BadInput(f"flow='decoder' leaves the encoder alone: there is nothing for {encoder_scale=} to scale")
        self.encoder_scale = 0.0 if flow == "decoder" else at_least_zero("encoder_scale", encoder_scale)
        self.detach = bool(detach) or self.encoder_scale == 0
        self.reaches_encoder = self.encoder_scale > 0
        self.draws_noise = source == "prior" or share < 1

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Squared error of the code read back, (B,)."""
        rows = self.rows(draw)
        z = self.codes(draw, rows)
        with still(model):
            back = self.encoded(self.decoded(z, draw, rows, model), model)
        errors = (precise(back) - precise(z)).square().sum(1)
        if self.source == "posterior" and self.share == 1:
            return errors.reshape(draw.z.shape[:2]).mean(0)
        return errors.mean().expand(len(draw.x))

    def number(self, draw: Draw) -> int:
        """N, how many codes of a batch are reconstructed; at least two, which normalisation layers need."""
        return max(round(self.share * len(draw.x)), 2)

    def rows(self, draw: Draw) -> Tensor | slice:
        """The examples that lend their codes, or, for prior codes, their pixels to the teacher."""
        if self.share == 1 or (self.source == "prior" and self.decode == "mean"):
            return slice(None)
        order, number = torch.randperm(len(draw.x), device=draw.x.device), self.number(draw)
        return order.repeat(-(-number // len(order)))[:number]

    def codes(self, draw: Draw, rows: Tensor | slice) -> Tensor:
        """z, (N, D), with the gradient that it keeps."""
        if self.source == "prior":
            with torch.no_grad():
                return self.spread * draw.prior.sample(Size((self.number(draw),)))
        z = draw.z[:, rows].flatten(0, 1)
        return z.detach() if self.detach else scaled(z, self.encoder_scale)

    def decoded(self, z: Tensor, draw: Draw, rows: Tensor | slice, model: Model) -> Tensor:
        """D(z), (N, *X)."""
        to_encoder = self.flow == "encoder"
        if self.source == "posterior" and self.decode == "mean" and (to_encoder or self.untouched):
            seen = mean_of(draw.px)[:, rows].flatten(0, 1)  # the main pass has made it
            return seen.detach() if to_encoder else seen
        with torch.set_grad_enabled(torch.is_grad_enabled() and not to_encoder):
            if torch.is_grad_enabled() and not z.requires_grad:
                z = z.clone().requires_grad_()  # so that a mean without a gradient shows
            px = model.likelihood(z)
            if self.decode == "mean":
                return mean_of(px, differentiable=z.requires_grad)
            x = draw.x[rows]
            return expected_of(px, x.repeat(len(z) // len(x), *[1] * (x.ndim - 1)))

    def encoded(self, seen: Tensor, model: Model) -> Tensor:
        """Means of the posterior at what was decoded, (N, D)."""
        if self.encoder_scale == 0:
            with frozen(model):
                return model.posterior(seen).mean
        if self.encoder_scale == 1:
            return model.posterior(seen).mean
        # scaled up before and down after the encoder, the gradient of what was decoded stays as it is
        return scaled(model.posterior(scaled(seen, 1 / self.encoder_scale)).mean, self.encoder_scale)

    @property
    def untouched(self) -> bool:
        """Whether z keeps its gradient as it is."""
        return not self.detach and self.encoder_scale == 1

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"weight={shown(self.weight)}, source={self.source!r}, flow={self.flow!r}, "
            f"encoder_scale={self.encoder_scale:g}, detach={self.detach}, share={self.share:g}, "
            f"spread={self.spread:g}, decode={self.decode!r}"
        )


def rising(weight: Any, warmup: int) -> Linear:
    """A weight that rises from 0 over `warmup` steps."""
    if callable(weight):
        raise BadInput("LatentReconstruction takes either a weight that is a schedule or warmup=, not both")
    return Linear(0.0, at_least_zero("the weight of a remedy", weight), steps("warmup", warmup))


def mean_of(px: Distribution, differentiable: bool = False) -> Tensor:
    """The mean of a likelihood, (..., *X)."""
    try:
        mean = px.mean
    except NotImplementedError as error:  # Unsupported is one
        raise Unsupported(
            f"LatentReconstruction feeds the mean of the likelihood back to the encoder, but {type(px).__name__} has "
            f"none ({error}); for an autoregressive decoder of images take decode='expected', or another remedy"
        ) from error
    if differentiable and not mean.requires_grad:
        raise Unsupported(
            f"LatentReconstruction needs a mean of the likelihood that depends on z, but that of {type(px).__name__} "
            "has no gradient; take flow='encoder', or another remedy"
        )
    return mean


def expected_of(px: Distribution, x: Tensor) -> Tensor:
    """The expectation of every pixel given the true ones before it, (N, *X)."""
    expected = getattr(px, "expected", None)
    if expected is None:
        raise Unsupported(
            "decode='expected' needs a likelihood with a method expected(x), such as an autoregressive one, "
            f"got {type(px).__name__}; take decode='mean'"
        )
    return cast(Tensor, expected(x))


class Scaled(torch.autograd.Function):
    """The same values, with a factor on the gradient."""

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        """x."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        """Keep the factor."""
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """The gradient, scaled."""
        return ctx.factor * slope, None


def scaled(x: Tensor, factor: float) -> Tensor:
    """x with a factor on its gradient."""
    return x if factor == 1 else cast(Tensor, Scaled.apply(x, factor))  # type: ignore[no-untyped-call]
