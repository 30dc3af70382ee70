"""What the page, the card and the terminal say about each number: a name, a definition, and how to read it."""

from dataclasses import dataclass

__all__ = ["CLASSES", "LATENTS", "MEASURES", "NOTHING", "STATES", "TONES", "Measure"]

NOTHING = 0.1  #: nats below which an input counts as carrying nothing in the figures, the verdict's own threshold


@dataclass(frozen=True)
class Measure:
    """A number of the evidence.

    Attributes:
        key: its name in the result.
        label: its name on the page.
        unit: what it is counted in.
        digits: after the point.
        short: what it is, in a line.
        formula: how it is computed, in words and signs.
        reading: what a large or a small value says, and what it does not.
    """

    key: str
    label: str
    unit: str
    digits: int
    short: str
    formula: str
    reading: str


MEASURES = (
    Measure(
        "mi_lower", "Information, at least", "nats", 2,
        "The code holds at least this much about its input.",
        "Mean over the examples of log q(zᵢ|xᵢ) − log of the mean of q(zᵢ|xⱼ) over all j, with the same sample zᵢ in "
        "both terms and the whole set in the second.",
        "Exactly 0 at collapse, whatever the KL is. It cannot exceed log N; within 0.1 of that ceiling the true value "
        "may be larger.",
    ),
    Measure(
        "mi_upper", "Information, at most", "nats", 2,
        "The code holds at most this much about its input.",
        "Mean over the examples of KL(qᵢ ‖ m), where m is the Gaussian with the mean and covariance of all codes.",
        "Close to the lower bound, the information is known. Far above it, the codes form clusters, or N is too small "
        "to show more.",
    ),
    Measure(
        "kl", "KL to the prior", "nats", 2,
        "How far the posteriors lie from the prior: the rate of the ELBO.",
        "Mean over the examples of KL(q(z|xᵢ) ‖ p(z)).",
        "It adds up information and mismatch. A large value proves nothing: a constant encoder N(4, I) with 16 latents "
        "has 128 nats of it and tells nothing.",
    ),
    Measure(
        "kl_information", "of it information", "nats", 2,
        "The part of the KL that tells inputs apart, latent by latent.",
        "Sum over the latents of I(x; zⱼ).",
        "What several latents repeat is counted once for each, so it may exceed the information of the whole code.",
    ),
    Measure(
        "kl_mismatch", "of it mismatch", "nats", 2,
        "The part of the KL that only moves all codes together away from the prior.",
        "Sum over the latents of KL(q(zⱼ) ‖ p(zⱼ)), where q(zⱼ) is the mixture of all posteriors.",
        "Near 0 when the codes together look like the prior. Where it exceeds the information, samples of the prior "
        "land where no code lies.",
    ),
    Measure(
        "active_units", "Active units", "latents", 0,
        "Latents whose posterior mean moves with the input.",
        "Number of latents j whose variance over the examples of the mean of q(zⱼ|x) is at least 0.01 (Burda 2015).",
        "It does not depend on samples of z. A latent may be active and still carry next to nothing when its posterior "
        "is wide: read it beside the information.",
    ),
    Measure(
        "shuffle_gap", "Shuffle gap", "nats", 2,
        "What it costs the decoder to get another input's code.",
        "Mean over the examples of log p(xᵢ|zᵢ) − log p(xᵢ|z of another example).",
        "Near 0, the decoder ignores z. Large values have no meaning of their own: a wrong code can cost more than the "
        "right one is worth.",
    ),
    Measure(
        "distortion", "Distortion", "nats", 2,
        "What the decoder still has to pay for the input when it has the code.",
        "Mean over the examples of −log p(xᵢ|zᵢ), zᵢ a sample of the posterior.",
        "Comparable only between models of the same likelihood on the same data; negative values are in order for "
        "continuous data.",
    ),
    Measure(
        "nll", "Negative log-likelihood", "nats", 2,
        "How badly the model as a whole explains the data.",
        "−log of the mean importance weight p(x|z) p(z) / q(z|x) over K samples of each posterior, averaged over the "
        "examples.",
        "An upper bound that tightens with K. A flag about Pareto k says that the weights are heavy-tailed and the "
        "bound may be loose.",
    ),
)  # fmt: skip

LATENTS = {
    "carries": ("●", "clearly tells inputs apart"),
    "borderline": ("◐", "close to the limit of 0.1 nats, from which a latent counts as carrying something"),
    "dead": ("○", "carries nothing and sits on the prior"),
    "off-prior": ("◌", "carries nothing, yet has a KL: the same for every input, away from the prior"),
}  #: the word for one latent: its sign and its meaning

CLASSES = {
    "carries": ("●", "the code tells the inputs of this class apart"),
    "label only": ("◐", "the code gives the class away, and nothing else about its inputs"),
    "collapsed": ("○", "the code says nothing about the inputs of this class"),
}  #: the word for one class: its sign and its meaning

STATES = {
    "found": ("●", "found", "tested, and there"),
    "clear": ("✓", "clear", "tested, and not there"),
    "untested": ("–", "untested", "could not be tested here"),
}  #: the state of one test: its sign, its word and its meaning

TONES = {
    "healthy": "good", "carries": "good", "clear": "good",
    "partial collapse": "warn", "decoder ignores z": "warn", "borderline": "warn", "label only": "warn",
    "collapsed": "bad", "off-prior collapse": "bad", "dead": "bad", "off-prior": "bad", "found": "bad",
    "prior hole": "odd",
}  # fmt: skip  #: which colour goes with a word; words that are not here stay grey
