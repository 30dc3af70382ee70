"""Active units: how many latents respond to the input, under a definition with a name."""

import math

import torch
from torch import Tensor

from uncollapse.codes import Codes
from uncollapse.errors import BadInput
from uncollapse.metrics.estimate import Estimate
from uncollapse.metrics.moments import average, by_block, power

__all__ = ["DEFINITIONS", "ActiveUnits", "active_units"]

DEFINITIONS = ("variance", "kl", "max_mean", "fraction")


class ActiveUnits(Estimate):
    """A count of latents (a share under "fraction"), with what it was counted from.

    Attributes:
        spectrum: (D,) variance over the examples of every posterior mean, whatever the definition.
        statistic: (D,) what was compared with the threshold; the spectrum itself under "variance".
        mask: (D,) which latents are active.
        definition: the name of the definition.
        threshold: what the statistic has to reach.
    """

    spectrum: Tensor
    statistic: Tensor
    mask: Tensor
    definition: str
    threshold: float


def active_units(codes: Codes, threshold: float = 0.01, definition: str = "variance") -> ActiveUnits:
    r"""Count the latents whose posterior mean moves with the input.

    $\mathrm{AU} = \#\{j : \mathrm{Var}_i\, \mu_j(x_i) \ge 0.01\}$, with the (n - 1) denominator. It is taken on
    means: the variance of *samples* is about 1 for a latent that carries nothing, and would count all of them.

    Arguments:
        codes: posteriors of N examples.
        threshold: what the statistic of a latent has to reach.
        definition: "variance" as above; "kl", the mean KL of the latent in nats; "max_mean", the largest
            |mean| of any example; "fraction", the share of latents that are active by variance.
            "kl" and "max_mean" count a latent that is constant but away from the prior.

    Returns:
        An `ActiveUnits`; its error is the chance of latents near the threshold to fall on the other side
        (unknown for "max_mean").

    Raises:
        BadInput: for an unknown definition, a threshold that is not positive, or a KL that does not factorise.

    References:
        Burda, Grosse, Salakhutdinov, 2015, https://arxiv.org/abs/1509.00519, section 5 ("variance").

    Example:
        >>> x = torch.randn(500, 2)
        >>> codes = uncollapse.Codes.from_gaussian(x * torch.tensor([1.0, 0.01]), torch.ones(500, 2))
        >>> active_units(codes)
        1.000 ± 0.000 units (n = 500)
    """
    if definition not in DEFINITIONS:
        raise BadInput(f"definition should be one of {', '.join(DEFINITIONS)}, got {definition!r}")
    if not threshold > 0:
        raise BadInput(f"the threshold of active units should be positive, got {threshold}")
    spectrum = power(codes, codes.mean, 2) * (len(codes) / (len(codes) - 1))
    statistic, error = measured(codes, definition, spectrum)
    mask = statistic >= threshold
    doubt = 0.5 * torch.erfc((statistic - threshold).abs() / (error * math.sqrt(2)).clamp(min=1e-300))
    se = float((doubt * (1 - doubt)).sum().sqrt())
    count = float(mask.sum())
    if definition == "fraction":
        found = ActiveUnits(count / codes.latent, se / codes.latent, len(codes), "share")
    else:
        found = ActiveUnits(count, se, len(codes), "units")
    found.spectrum, found.statistic, found.mask = spectrum, statistic, mask
    found.definition, found.threshold = definition, threshold
    return found


def measured(codes: Codes, definition: str, spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """The statistic of every latent and its standard error, (D,) each."""
    n = len(codes)
    if definition == "max_mean":
        largest = by_block(lambda m, _: m.abs().amax(0), codes.mean, codes.mean, codes.release).amax(0)
        return largest, torch.full_like(largest, math.nan)
    if definition == "kl":
        if codes.kl.shape[1] != codes.latent:
            raise BadInput("active units by KL need a KL per latent, and this one does not factorise")
        return average(codes, codes.kl), (power(codes, codes.kl, 2) / (n - 1)).sqrt()
    fourth = power(codes, codes.mean, 4)
    return spectrum, ((fourth - spectrum.square()).clamp(min=0) / n).sqrt()
