"""How much a decoder reacts to each direction of z: the local spectrum, and the singular values of its Jacobian."""

from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor

from uncollapse.codes import Codes, evaluation, private_stream
from uncollapse.draw import Model
from uncollapse.errors import BadInput, Unsupported
from uncollapse.metrics.estimate import Estimate
from uncollapse.metrics.fisher import core, family_of, mean_of, parameters_of, weighed
from uncollapse.metrics.jacobian import Read, grams, passes, placed, scores, whole

__all__ = ["Lipschitz", "Spectrum", "lipschitz", "local_spectrum"]

SAMPLED = "sampled"


class Spectrum(NamedTuple):
    """Local spectra of a decoder, with how they were had.

    Attributes:
        eigenvalues: (M, D), largest first, in float64 on the CPU; NaN for an example with a derivative that is.
        everywhere: (D,), largest first, of the mean of the matrices over the M places: 0 along a direction that is
            flat at all of them.
        flags: "sampled" where the Fisher information was estimated from samples of x.
    """

    eigenvalues: Tensor
    everywhere: Tensor
    flags: tuple[str, ...] = ()

    @property
    def epsilon(self) -> Tensor:
        r"""$\varepsilon(x) = \tfrac12\sum_d \log(1 + \lambda_d)$, (M,) nats: what a Laplace posterior would hold."""
        return 0.5 * self.eigenvalues.log1p().sum(1)

    @classmethod
    def of(
        cls,
        model: Model,
        z: Tensor,
        x: Tensor | None = None,
        chunk: int | None = None,
        samples: int = 256,
        seed: int = 0,
    ) -> Self:
        """As `local_spectrum`, with the flag."""
        z, x = placed(model, z, x)
        draws = max(whole("samples", samples), 4 * z.shape[1])
        with evaluation(model, seed):
            px = model.likelihood(z[:1])
            family, rows = family_of(px), passes(chunk, px.event_shape.numel(), z.device)
            if family is not None:
                found = grams(model, z, x, rows, parameters_of, partial(weighed, family))
                if found is not None:
                    return cls(eigenvalues(found), pooled(found))
            found = scores(model, z, rows, draws, type(core(px)).__name__)
            return cls(eigenvalues(found), pooled(found), (SAMPLED,))


def local_spectrum(
    model: Model, z: Tensor, x: Tensor | None = None, chunk: int | None = None, samples: int = 256, seed: int = 0
) -> Tensor:
    r"""Eigenvalues of the information that the likelihood holds about z, at given z.

    $\lambda(z) = \operatorname{eig} J^\top F J$, $J = \partial\theta/\partial z$ the Jacobian of the likelihood's
    parameters, F its Fisher information: the squared distance, in units that the likelihood can tell apart, by which
    the decoder moves along each principal direction of z. 0 along a direction that the decoder ignores.

    Exact for Gaussian (mean and standard deviation), log-normal, Laplace, Bernoulli, categorical, one-hot and Poisson
    likelihoods, for the negative binomial with a fixed total count, and for `nets.Autoregressive`, whose logits are
    taken at the true pixels x (teacher forcing). Any other likelihood that can be sampled, and whose log density has a
    gradient, is handled by the mean of score times score over x' ~ p(x|z); `Spectrum.of` takes the same arguments and
    tells by its flag "sampled" when this was done.

    Arguments:
        model: anything with `likelihood`; evaluated in evaluation mode.
        z: (M, D), where to look: posterior means, say.
        x: (M, *X), the inputs behind z; needed by autoregressive decoders only.
        chunk: vectors decoded at once; bounds the memory and does not change an exact result. If None, at most 1,024
            (16,384 on a GPU), fewer for large observations. Where a graph has to be kept it is a quarter. The Jacobian
            of one example is always held.
        samples: of x for every example, where the Fisher information is sampled; at least 4 D are taken. The mean is
            right; the sum of log(1 + lambda) is too small by up to D² / (4 samples) nats.
        seed: of these samples.

    Returns:
        (M, D), largest first, in float64 on the CPU; NaN for an example with a derivative that is. Half the sum of
        log(1 + lambda) is epsilon(x).

    Raises:
        ShapeError, BadInput: when z or x does not fit, or an autoregressive decoder gets no x.
        Unsupported: when the decoder reacts to z but lets no derivative through, neither way of differentiating
            works, or the Jacobian of one example has more than 2^28 numbers.

    References:
        Amari, 1998, "Natural gradient works efficiently in learning", for the metric $J^\top F J$.

    Example:
        >>> from uncollapse.testing import LinearVAE
        >>> model = LinearVAE(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), noise=0.5)
        >>> local_spectrum(model, torch.zeros(1, 2)).round(decimals=4)
        tensor([[18.,  2.]], dtype=torch.float64)
    """
    return Spectrum.of(model, z, x, chunk, samples, seed).eigenvalues


class Lipschitz(NamedTuple):
    """How much a decoder stretches small steps, over a sample of codes.

    Attributes:
        largest: the largest singular value of the Jacobian anywhere; no standard error, it is an extreme.
        smallest: the smallest one anywhere; 0 where some direction is lost.
        singular: (M, D), all of them, largest first.
    """

    largest: Estimate
    smallest: Estimate
    singular: Tensor


def lipschitz(
    model: Model,
    codes: Codes | Tensor,
    x: Tensor | None = None,
    of: str = "mean",
    chunk: int | None = None,
    examples: int = 256,
    seed: int = 0,
) -> Lipschitz:
    r"""Largest and smallest singular value of the decoder's Jacobian over a sample of codes.

    $L = \max_z \sigma_{\max}\big(\tfrac{\partial f}{\partial z}\big)$, $l = \min_z \sigma_{\min}$: between codes close
    to each other, $l\,\lVert z - z'\rVert \le \lVert f(z) - f(z')\rVert \le L\,\lVert z - z'\rVert$. A decoder with l
    away from 0 is locally injective, so that z can be told from x.

    Arguments:
        model: anything with `likelihood`.
        codes: `Codes`, of which the samples of `examples` random examples are taken, or points z (M, D).
        x: (M, *X), the inputs behind points z, for autoregressive decoders.
        of: "mean" for f the mean of the likelihood (what LR-VAE compares), or "parameters" for its location as the
            decoder gives it: logits of a Bernoulli or categorical likelihood (what LIDVAE bounds).
        chunk: as for `local_spectrum`.
        examples: how many examples of `Codes` to look at.
        seed: of their choice.

    Returns:
        A `Lipschitz`, in units of f per unit of z.

    Raises:
        ShapeError, BadInput, Unsupported: as `local_spectrum`; also when the likelihood has no such mean.

    References:
        Song, Kim, Lee, 2025, https://arxiv.org/abs/2508.12530, theorem 2.3, for bi-Lipschitz decoders;
        Kinoshita et al., 2023, https://arxiv.org/abs/2304.12770, for the lower constant.

    Example:
        >>> from uncollapse.testing import LinearVAE
        >>> model = LinearVAE(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), noise=0.5)
        >>> found = lipschitz(model, torch.randn(5, 2))
        >>> float(found.largest), float(found.smallest)
        (3.0, 1.0)
    """
    if of not in ("mean", "parameters"):
        raise BadInput(f'of should be "mean" or "parameters", got {of!r}')
    z, x = placed(model, chosen(codes, examples, seed) if isinstance(codes, Codes) else codes, x)
    with evaluation(model, seed):
        px = model.likelihood(z[:1])
        if of == "parameters" and family_of(px) is None:
            kind = type(core(px)).__name__
            raise Unsupported(f'the parameters of a {kind} likelihood are not known here; take of="mean"')
        READERS[of](px, None if x is None else x[:1])  # says what is wrong with them, if anything
        found = grams(model, z, x, passes(chunk, px.event_shape.numel(), z.device), READERS[of], plain)
    if found is None:
        raise Unsupported("the decoder cannot be differentiated twice, which its Jacobian needs")
    singular = eigenvalues(found).sqrt()
    flags = () if singular.isfinite().all() else ("some derivatives are not finite",)
    known = singular[singular.isfinite().all(1)]
    high, low = (float(known.max()), float(known.min())) if len(known) else (torch.nan, torch.nan)
    return Lipschitz(Estimate(high, n=len(known), flags=flags), Estimate(low, n=len(known), flags=flags), singular)


READERS: dict[str, Read] = {
    "mean": lambda px, x: (mean_of(px, x),),
    "parameters": lambda px, x: parameters_of(px, x)[:1],
}


def plain(values: tuple[Tensor, ...], moves: tuple[Tensor | None, ...]) -> list[Tensor]:
    """Changes as they are."""
    return [move.flatten(2) for move in moves if move is not None]


def chosen(codes: Codes, examples: int, seed: int) -> Tensor:
    """The samples of a few random examples, (M, D)."""
    order = torch.randperm(len(codes), generator=private_stream(seed, "lipschitz"))
    return codes.sample[order[: whole("examples", examples)].sort().values]


def eigenvalues(grams: Tensor) -> Tensor:
    """Eigenvalues (M, D) of symmetric matrices (M, D, D), largest first, at least 0; NaN where one is not finite."""
    good = grams.isfinite().flatten(1).all(1)
    found = torch.linalg.eigvalsh(torch.where(good[:, None, None], grams, 0.0)).flip(1).clamp(min=0)
    return torch.where(good[:, None], found, torch.nan)


def pooled(grams: Tensor) -> Tensor:
    """Eigenvalues (D,) of the mean of the finite ones among symmetric matrices (M, D, D), largest first; else NaN."""
    good = grams[grams.isfinite().flatten(1).all(1)]
    if not len(good):
        return torch.full(grams.shape[-1:], torch.nan, dtype=grams.dtype)
    found: Tensor = torch.linalg.eigvalsh(good.mean(0)).flip(0).clamp(min=0)
    return found
