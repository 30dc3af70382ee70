"""What the decoder could tell apart at single inputs, computed once for all who ask."""

from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.codes import Codes, evaluation
from uncollapse.diagnosis.refusals import reason
from uncollapse.diagnosis.subject import LEAST, SHARE, Subject
from uncollapse.metrics import LocalCollapse, local_collapse
from uncollapse.metrics.fisher import family_of

__all__ = ["rooms"]

SAMPLES = 256  #: of every example, where the spectrum is sampled
PASSES = 5  #: what drawing and scoring a sample costs, in passes of the decoder


def rooms(subject: Subject) -> LocalCollapse | str:
    """KL, information and epsilon(x) of the first inputs of the sample; or why they cannot be had."""
    if "rooms" not in subject.memory:
        subject.memory["rooms"] = measured(subject)
    found: LocalCollapse | str = subject.memory["rooms"]
    return found


def measured(subject: Subject) -> LocalCollapse | str:
    """Measure, or say why not."""
    count = subject.afford(subject.budget.spectra, 3 * subject.codes.latent)
    if not subject.adapted.decodes or count < 2:
        return "A decoder and at least two inputs are needed."
    if "broken decoder" in subject.memory:
        return "The decoder gives NaN or infinite log p(x|z)."
    if too_slow(subject):
        return "The decoder's local spectrum is an average over samples, which take too long to draw from this decoder."
    try:
        model, codes = standardised(subject)
        return local_collapse(model, codes, subject.rows[:count], subject.some(count), seed=subject.seed)
    except Exception as error:  # somebody's decoder may raise anything
        return f"The decoder's local spectrum could not be computed: {reason(error)}."


def too_slow(subject: Subject) -> bool:
    """Whether the spectrum has to be sampled, and a fifth of the budget's time does not do for a few examples."""
    try:
        with evaluation(subject.module, subject.seed):
            known = family_of(subject.model.likelihood(subject.z[:1])) is not None
    except Exception:  # somebody's decoder may raise anything
        return False
    draws = max(SAMPLES, 4 * subject.codes.latent)
    return not known and subject.pace * PASSES * draws * LEAST > SHARE * subject.budget.seconds


def standardised(subject: Subject) -> tuple[Any, Codes]:
    """The model and its codes in the coordinates in which the prior has mean 0 and variance 1; as they are if it has.

    What a decoder could tell apart is held against the width of the prior, not against the unit of z.
    """
    codes = subject.codes
    try:
        prior = subject.model.prior()
        middle, width = (one.detach().reshape(-1, codes.latent)[0] for one in (prior.mean, prior.stddev))
    except (NotImplementedError, RuntimeError):
        return subject.model, codes
    usual = bool((middle == 0).all()) and bool((width == 1).all())
    if usual or codes.posteriors or codes.scale is None or not bool((width > 0).all() and width.isfinite().all()):
        return subject.model, codes
    at, by = middle.cpu().double(), width.cpu().double()
    moved = Codes((codes.mean.double() - at) / by, codes.scale.double() / by, (codes.sample - at) / by, codes.kl)
    return Standardised(subject.model, middle, width), moved


class Standardised(nn.Module):
    """A model whose codes are counted from the prior's mean, in standard deviations of the prior."""

    def __init__(self, model: Any, middle: Tensor, width: Tensor) -> None:
        super().__init__()
        self.model, self.middle, self.width = model, middle, width

    def likelihood(self, z: Tensor) -> Distribution:
        """That of the model at the same place."""
        found: Distribution = self.model.likelihood(self.middle.to(z) + self.width.to(z) * z)
        return found
