"""The verdicts as readers see them: from best to worst, with a sign and a sentence each."""

__all__ = ["MEANINGS", "SEVERITY", "SIGNS"]

MEANINGS = {
    "healthy": (
        "Every latent carries something, the decoder uses the code, and the prior covers the codes. The latents may "
        "still repeat each other: then their information, summed latent by latent, lies far above the bracket."
    ),
    "undetermined": "Too few examples, or too noisy ones, to tell information from none. More examples would decide.",
    "prior hole": (
        "The codes carry information but lie where the prior has little mass, so samples of the prior land where "
        "there are few codes."
    ),
    "partial collapse": (
        "Some latents carry less than 0.1 nats; single inputs are not tested. A model with more latents than the data "
        "need looks the same, so read the information beside the word."
    ),
    "decoder ignores z": "The codes hold information, but giving the decoder another input's code costs nothing.",
    "off-prior collapse": "KL is large and the information is nil: every input has the same code, away from the prior.",
    "collapsed": "The posterior says the same about every input.",
}
SEVERITY = tuple(MEANINGS)
SIGNS = dict(zip(SEVERITY, "●?◎◐◇◌○", strict=True))
