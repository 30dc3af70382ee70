"""What a decoder's output means: readers from raw tensors to distributions over x, for `VAE(read_x=...)`."""

from uncollapse.likelihoods.counts import Multinomial, NegativeBinomial
from uncollapse.likelihoods.gaussian import LearnedGaussian, SharedGaussian
from uncollapse.likelihoods.logistic import DiscretisedLogistic
from uncollapse.likelihoods.setting import read_likelihood
from uncollapse.likelihoods.tokens import tokens

__all__ = [
    "DiscretisedLogistic",
    "LearnedGaussian",
    "Multinomial",
    "NegativeBinomial",
    "SharedGaussian",
    "read_likelihood",
    "tokens",
]
