"""Word dropout: an autoregressive decoder that does not get to see all of the past must ask z."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.distributions import Folded
from uncollapse.errors import BadInput, Unsupported
from uncollapse.wrappers.base import Wrapper

__all__ = ["WordDropout", "drop_tokens"]


class WordDropout(Wrapper):
    r"""In training, a share of what an autoregressive decoder is told about the past is replaced by "unknown".

    $\log p(x|z) = \sum_i \log p(x_i \mid z, \tilde x_{<i})$, where $\tilde x_j$ is "unknown" with probability r and
    $x_j$ otherwise, independently for every position, example and sample. What is scored stays the true x. In
    evaluation mode nothing is replaced. The noise comes from torch's global generator.

    With r = 1 the decoder has nothing but z. The bound of a training batch is that of a harder task: judge by
    evaluation. Bowman et al. name the share that is kept, 1 - r.

    It works with any likelihood that offers `corrupted(change)`, the same distribution whose network sees `change(x)`
    in place of x (see `uncollapse.nets.Autoregressive`).

    Arguments:
        model: its likelihood is autoregressive, as that of `PixelCNN` is.
        rate: r, in [0, 1].
        unknown: what stands for "unknown": the id of UNK for tokens; 0.5 is neither ink nor paper for binary pixels.
        keep: values that are never replaced, such as the ids of the begin and the padding token.

    Raises:
        BadInput: when the rate is no share, or `unknown` or `keep` are not numbers.
        Unsupported: in training mode, when the likelihood has no `corrupted`.

    References:
        Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio, 2016, https://arxiv.org/abs/1511.06349, section 3.2.

    Example:
        >>> from uncollapse.nets import build_vae
        >>> plain = build_vae("conv-small", "pixelcnn-small", (1, 8, 8), latent=4)
        >>> model, z, x = WordDropout(plain, rate=0.3), torch.zeros(2, 4), torch.ones(2, 1, 8, 8)
        >>> exact = plain.likelihood(z).log_prob(x)
        >>> torch.equal(model.likelihood(z).log_prob(x), exact)
        False
        >>> torch.equal(model.eval().likelihood(z).log_prob(x), exact)
        True
    """

    sources = (
        "Bowman, Vilnis, Vinyals, Dai, Jozefowicz, Bengio, 2016, Generating sentences from a continuous space, "
        "https://arxiv.org/abs/1511.06349",
    )
    side = "decoder"

    def __init__(self, model: Any, rate: float = 0.5, unknown: float = 0.5, keep: Sequence[float] = ()) -> None:
        super().__init__(model)
        if not all(isinstance(value, int | float) for value in (unknown, *keep)):
            raise BadInput(
                f"unknown and keep should be numbers, as pixels and token ids are, got {unknown!r}, {keep!r}"
            )
        self.rate, self.unknown, self.keep = check_rate(rate), unknown, tuple(keep)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event X; in training mode its network sees x with gaps."""
        px = super().likelihood(z)
        if not self.training or self.rate == 0:
            return px
        return corrupted(px, partial(drop_tokens, rate=self.rate, unknown=self.unknown, keep=self.keep))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return f"rate={self.rate:g}, unknown={self.unknown:g}" + (f", keep={self.keep}" if self.keep else "")


def corrupted(px: Distribution, change: Callable[[Tensor], Tensor]) -> Distribution:
    """The likelihood whose network sees changed inputs, however it is folded."""
    if isinstance(px, Folded):
        return Folded(corrupted(px.base, change), px.batch_shape)
    hook = getattr(px, "corrupted", None)
    if not callable(hook):
        raise Unsupported(
            f"WordDropout needs a likelihood that is told x while it scores x, such as that of a PixelCNN, got "
            f"{type(px).__name__}; give yours a method corrupted(change) that returns it with network inputs changed, "
            "or leave WordDropout away: a decoder that sees z alone has nothing to drop"
        )
    found: Distribution = hook(change)
    return found


def drop_tokens(tokens: Tensor, rate: float, unknown: float, keep: Sequence[float] = ()) -> Tensor:
    """Replace a share of tokens, or of pixels, each with the same probability.

    For token models with a loop of their own: feed the result to the decoder in training mode, score the tokens as
    they were.

    Arguments:
        tokens: any shape and type.
        rate: the probability, in [0, 1].
        unknown: what to put in their place.
        keep: values that are never replaced (begin of sentence, padding).

    Returns:
        A new tensor like `tokens`.

    Raises:
        BadInput: when the rate is no share, or tokens are whole numbers and `unknown` is not.

    Example:
        >>> torch.manual_seed(0)
        <torch._C.Generator object at ...>
        >>> drop_tokens(torch.tensor([[1, 7, 8, 9, 0, 0]]), rate=0.9, unknown=3, keep=(0, 1))
        tensor([[1, 3, 3, 3, 0, 0]])
    """
    if not tokens.is_floating_point() and unknown != int(unknown):
        raise BadInput(f"unknown should be a token id, such as that of UNK, because tokens are ids; got {unknown!r}")
    dropped = torch.rand(tokens.shape, device=tokens.device) < check_rate(rate)
    for value in keep:
        dropped &= tokens != value
    return tokens.masked_fill(dropped, unknown)


def check_rate(rate: Any) -> float:
    """The rate, if it is a share."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise BadInput(f"the rate of word dropout should be a share between 0 and 1, got {rate!r}")
    return float(rate)
