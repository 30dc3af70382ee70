"""The metrics of the table: how each is called, printed and ranked, and what it means."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["COLUMNS", "Column"]


@dataclass(frozen=True)
class Column:
    """A metric in the table; `better` says which way is best, None that no way is."""

    key: str
    label: str
    unit: str
    digits: int
    better: Literal["lower", "higher", "one"] | None
    meaning: str


COLUMNS = (
    Column(
        "nll",
        "NLL",
        "nats",
        2,
        "lower",
        "Negative log-likelihood of held-out data by importance sampling: an upper bound that tightens with the "
        "number of samples. Lower is better.",
    ),
    Column(
        "kl",
        "KL",
        "nats",
        2,
        None,
        "Mean KL(q(z|x) ‖ p(z)), the rate. It counts information and mismatch with the prior together, so a large "
        "value proves nothing and no value is best. Over factorised posteriors and priors it is the sum, over the "
        "latents, of information and mismatch; latents that repeat each other are counted more than once there.",
    ),
    Column(
        "mi_lower",
        "MI ≥",
        "nats",
        2,
        "higher",
        "The latent code holds at least this much information about its input: a sampled lower bound over the "
        "whole set, which cannot exceed log N. Both ends of the bracket are estimates, so that by sampling noise "
        "they may cross where they lie close together (≈).",
    ),
    Column(
        "mi_upper",
        "MI ≤",
        "nats",
        2,
        None,
        "The code holds at most this much information: mean KL(q(z|x) ‖ m), where m is the Gaussian with the "
        "aggregate posterior's moments.",
    ),
    Column(
        "active_units",
        "AU",
        "latents",
        1,
        "higher",
        "Active units: latents whose posterior mean varies over the data by at least 0.01 (Burda 2015).",
    ),
    Column(
        "density",
        "Density",
        "",
        3,
        "one",
        "How thickly prior samples lie where data lie (Naeem 2020). Equal continuous distributions give 1; more "
        "means that samples crowd into the easy regions. Binary data have ties at the radius, which do not count, "
        "and score lower: compare with the reference, real training examples in place of the samples. The value "
        "closest to the reference is best, or to 1 where there is none.",
    ),
    Column(
        "coverage",
        "Coverage",
        "",
        3,
        "higher",
        "Share of data points with a prior sample in their neighbourhood (Naeem 2020). Higher is better; equal "
        "continuous distributions give 1 − 2⁻ᵏ with k neighbours (0.969 at k = 5). Binary data have ties at the "
        "radius, which do not count, and score lower: compare with the reference.",
    ),
    Column(
        "probe",
        "Probe",
        "",
        3,
        "higher",
        "Held-out accuracy of a logistic regression that reads the label off the posterior mean.",
    ),
    Column(
        "knn",
        "kNN",
        "",
        3,
        "higher",
        "Held-out accuracy of a vote among the nearest posterior means of the training part.",
    ),
    Column(
        "nll_token",
        "NLL / token",
        "nats",
        3,
        "lower",
        "The negative log-likelihood divided by the mean number of tokens of a text; the end mark counts as one.",
    ),
    Column("perplexity", "PPL", "", 1, "lower", "Perplexity, exp of the negative log-likelihood per token."),
)

OPTIONAL = ("density", "coverage", "probe", "knn", "nll_token", "perplexity")  #: shown where a run has them
