"""Aggressive training: the encoder catches up with the decoder before the decoder moves on."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from uncollapse.codes import evaluation
from uncollapse.distributions import diagonal
from uncollapse.draw import Model
from uncollapse.errors import BadInput, NonFinite
from uncollapse.functional import log_mean_exp, pairwise_log_prob
from uncollapse.remedies.base import Inner, Remedy, one_of, shown

__all__ = ["Aggressive"]

Rule = Literal["images", "text"]
Gradients = Literal["all", "encoder"]

WINDOWS = {"images": 10, "text": 15}  #: T of the released code
CHANCES = 5  #: epochs whose information was below the best so far, after which images are done
ENTROPY = 0.5 * (1 + math.log(2 * math.pi))  #: of a standard normal, nats
STATE: tuple[tuple[str, Callable[[float], Any]], ...] = (
    ("active", bool), ("best", float), ("previous", float), ("below", int),
    ("epoch", int), ("inner_steps", int), ("total_inner_steps", int),
)  # fmt: skip


class Aggressive(Remedy):
    r"""Ahead of every step the encoder alone is trained until it gains no more; the step itself then leaves it alone.

    An inner step is one of the encoder on the loss of the whole objective, first on the batch of the main step, from
    then on on fresh ones. Every T steps the mean loss of the last T batches (per example, or per word of text) is held
    against that of the T before: the inner loop ends when it got worse, or after `most` steps.

    At the end of every epoch the information on the validation data decides whether to go on, by He's estimate per
    batch of B, $\frac1B\sum_i\big[-H(q_i) - \log\frac1B\sum_j q(z_i|x_j)\big]$, in evaluation mode:

    - "images": over when it was below the best so far in five epochs altogether; the count is never set back.
    - "text": over as soon as it is below that of the epoch before.

    Once over, it stays over, and training goes on as usual. It cures an encoder that lags behind; where the collapsed
    model is the better one, an encoder that is up to date collapses all the faster.

    Arguments:
        rule: "images" or "text": when it is over, T, and what the loss is counted by.
        window: T, inner steps; 10 for images and 15 for text if None.
        most: inner steps ahead of one main step at most.
        gradients: "all" computes the decoder's gradients in the inner loop too, although it stays where it is: a loop
            can then clip by the norm of all parameters, as published. "encoder" leaves them out, which is cheaper, and
            the same where nothing is clipped.
        count: how many examples or words a batch (B, *X) has, as a function; if None, B for images and for text
            all entries that are not 0, which is taken for padding.

    Attributes:
        active: whether it still runs the inner loop.
        best, previous: the best information so far and that of the last epoch, nats.
        below: epochs in which it was below the best.
        inner_steps: inner steps ahead of the last main step.
        total_inner_steps: inner steps since the beginning.

    Remedies with parameters of their own wait with the decoder: the inner loop moves the encoder and nothing else, as
    published. Layers of batch normalisation keep statistics in every pass, the decoder's too.

    Raises:
        BadInput: for an unknown choice, a number that makes no sense, or a loop without validation data.
        Unsupported: when the posterior is not a diagonal Gaussian.
        NonFinite: when the loss of an inner step is NaN or infinite.

    References:
        He, Spokoyny, Neubig, Berg-Kirkpatrick, 2019, https://arxiv.org/abs/1901.05534, algorithm 1;
        the rules are those of the released code, https://github.com/jxhe/vae-lagging-encoder.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> x, lagging = torch.rand(64, 16).round(), Aggressive()
        >>> _ = uncollapse.fit(model, x, uncollapse.Objective([lagging]), batches=2, batch_size=8)
        >>> lagging.active, lagging.total_inner_steps >= 40
        (True, True)
    """

    sources = (
        "He et al., 2019, Lagging Inference Networks and Posterior Collapse in Variational Autoencoders, "
        "https://arxiv.org/abs/1901.05534",
    )

    def __init__(
        self,
        rule: Rule = "images",
        window: int | None = None,
        most: int = 99,
        gradients: Gradients = "all",
        count: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__()
        self.rule = one_of("rule", rule, Rule)
        self.window = whole("window", WINDOWS[rule] if window is None else window)
        self.most = whole("most", most)
        self.gradients = one_of("gradients", gradients, Gradients)
        self.count = {"images": len, "text": words}[rule] if count is None else count
        self.active, self.best, self.previous, self.below = True, 0.0, 0.0, 0
        self.epoch = self.inner_steps = self.total_inner_steps = 0

    def before_step(self, inner: Inner) -> frozenset[str]:
        """Train the encoder alone while it lags; the main step then leaves it alone."""
        self.inner_steps = 0
        if self.active:
            self.look(inner)
        if not self.active:
            return frozenset()
        self.inner_steps = self.catch_up(inner)
        self.total_inner_steps += self.inner_steps
        return frozenset({"encoder"})

    def look(self, inner: Inner) -> None:
        """At the end of an epoch: does the encoder still lag?"""
        if self.step == 0:  # better refused now than after an epoch
            information(inner.model, [inner.x[:2]])
        epoch = math.floor(inner.epoch + 1e-6)
        if epoch > self.epoch:
            self.epoch = epoch
            self.judge(information(inner.model, inner.validation()))

    def judge(self, now: float) -> None:
        """Go on or end, by the information of the epoch that has just ended, nats."""
        if self.rule == "text":
            self.active = not now < self.previous
        else:
            self.below += now < self.best
            self.active = self.below < CHANCES
        self.best, self.previous = max(self.best, now), now

    def catch_up(self, inner: Inner) -> int:
        """The inner loop; returns the number of its steps."""
        before, losses, counts = math.inf, [], []
        for made in range(1, self.most + 1):
            x = inner.x if made == 1 else inner.batch()
            losses.append(self.move(inner, x))
            counts.append(torch.as_tensor(self.count(x)))
            if made % self.window == 0:
                now = ratio(losses, counts)
                if now > before:
                    return made
                before, losses, counts = now, [], []
        return self.most

    def move(self, inner: Inner, x: Tensor) -> Tensor:
        """One step of the encoder; returns the summed loss of the batch before it, nats."""
        with inner.only("encoder") if self.gradients == "encoder" else nullcontext():
            loss = inner.loss(x)
            inner.step(loss, "encoder")
        return loss.detach().sum()

    def get_extra_state(self) -> Tensor:
        """Everything that moves, as one tensor."""
        return torch.tensor([self.step, *(getattr(self, name) for name, _ in STATE)], dtype=torch.float64)

    def set_extra_state(self, state: Any) -> None:
        """Restore it."""
        step, *values = state.tolist()
        self.step = int(step)
        for (name, kind), value in zip(STATE, values, strict=True):
            setattr(self, name, kind(value))

    def extra_repr(self) -> str:
        """Shown by `print`."""
        return (
            f"rule={self.rule!r}, window={self.window}, most={self.most}, gradients={self.gradients!r}, "
            f"count={shown(self.count)}"
        )


def ratio(losses: list[Tensor], counts: list[Tensor]) -> float:
    """Summed losses over what they are counted by; the only number of a window for which the processor waits."""
    found: float = sum(torch.stack(losses).tolist()) / max(sum(torch.stack(counts).tolist()), 1)
    if not math.isfinite(found):
        raise NonFinite(
            "the loss of a step of the encoder alone is NaN or infinite; lower the learning rate or set clip="
        )
    return found


def information(model: Model, batches: Iterable[Tensor]) -> float:
    """He's estimate of the mutual information, nats: batch by batch, about log B at most, the same noise every time."""
    total, examples = 0.0, 0
    with evaluation(model, 0):
        for x in batches:
            q = model.posterior(x)
            mean, scale = diagonal(q, "Aggressive")
            entropy = scale.log().sum(1) + mean.shape[1] * ENTROPY
            values = -entropy - log_mean_exp(pairwise_log_prob(q.sample(), mean, scale), 1)
            total, examples = total + float(values.sum()), examples + len(x)
    if not examples:
        raise BadInput("Aggressive decides by the information on validation data, but inner.validation() gave none")
    return total / examples


def words(x: Tensor) -> Tensor:
    """How many words a batch of texts (B, L) has; 0 is padding."""
    return (x != 0).sum()


def whole(what: str, value: Any) -> int:
    """The value, if it is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{what} of Aggressive should be a positive whole number of steps, got {value!r}")
    return value
