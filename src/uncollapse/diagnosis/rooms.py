"""What the decoder could tell apart at single inputs, computed once for all who ask."""

from uncollapse.diagnosis.subject import Subject
from uncollapse.metrics import LocalCollapse, local_collapse

__all__ = ["rooms"]


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
    try:
        return local_collapse(
            subject.model, subject.codes, subject.rows[:count], subject.some(count), seed=subject.seed
        )
    except Exception as error:  # somebody's decoder may raise anything
        said = str(error) or type(error).__name__
        return f"The decoder's local spectrum could not be computed: {said.splitlines()[0]}."
