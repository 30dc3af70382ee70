r"""Momentum contrast: a latent must name the latent of another view of its own input among those of other inputs.

Setting: two views $x^q_i, x^k_i$ of an input; the query $z_i \sim q(z|x^q_i)$ comes from the encoder, the key
$k_i \sim \bar q(z|x^k_i)$ from a copy of it whose weights are the running average of the encoder's. The term is the
cross-entropy of naming the own key by cosine.

References:
    Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968 (CR-VAE);
    He, Fan, Wu, Xie, Girshick, 2020, https://arxiv.org/abs/1911.05722 (MoCo).
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse import augment as augmentations
from uncollapse.distributions import Reader, describe, gaussian
from uncollapse.draw import Draw, Model, called, sample
from uncollapse.errors import BadInput, ShapeError
from uncollapse.remedies.bank import Bank
from uncollapse.remedies.base import Remedy, one_of, shown
from uncollapse.remedies.contrast import Compare, Cosine, compared, positive, widths
from uncollapse.remedies.follow import duplicate, follow
from uncollapse.remedies.naming import naming
from uncollapse.remedies.second_pass import still
from uncollapse.schedules import Schedule

__all__ = ["AS_PUBLISHED", "PUBLISHED", "MomentumContrast"]

Key = Literal["ema", "none", "end_to_end", "frozen"]
Side = Literal["clean", "view"]
Statistics = Literal["running", "batch"]

#: Arguments of `MomentumContrast` as in the authors' code; the weight was varied from 0.1 to 10.
AS_PUBLISHED: dict[str, Any] = {
    "augment": [{"name": "crop", "scale": [0.08, 1.0]}, "flip", "colour"],
    "query": "view", "reconstruct": "view", "key": "ema", "momentum": 0.99, "queue": 4096, "in_batch": False,
    "temperature": 0.1, "symmetric": False, "compare": "sample", "batch_norm": "batch",
}  # fmt: skip

#: Settings of `fit` as in the authors' scripts. Their plateau rule (learning rate times 0.9 after 20 epochs in which
#: the training loss did not fall) has no counterpart here.
PUBLISHED: dict[str, Any] = {
    "epochs": 50, "batch_size": 256, "optimiser": "sgd", "lr": 1e-3, "weight_decay": 1e-8, "clip": 5.0, "keep": "last",
}  # fmt: skip


class MomentumContrast(Remedy):
    r"""Contrast between two views of an input, with a slowly moving key encoder (CR-VAE).

    $T_i = -\log \frac{e^{s_{ii}}}{\sum_{j \in \mathcal K} e^{s_{ij}}}$, $s_{ij} = \cos(z_i, k_j) / \tau$; candidates
    $\mathcal K$ are the keys of the batch and those in the queue. After every step the key encoder moves:
    $\bar\theta \leftarrow m \bar\theta + (1 - m)\,\theta$, buffers included; whole numbers are copied.

    By default the query is the latent that the decoder sees: one view and one pass without gradient are all that is
    added, and the term bounds I(x; z) itself, because the key depends on z through x alone. A query from a view of its
    own ("view") bounds the information about the view. The cosine leaves the length of z free: read information, KL
    and mismatch, not the term.

    Arguments:
        encoder: the model's encoder; a copy of it as it is now starts as key encoder, so build the remedy after the
            encoder has its weights. Later on it is looked up as `model.encoder`.
        latent: D.
        weight: number or schedule.
        augment: what makes a view: a name such as "crop" or "crop+flip", a mapping, a list, a function
            (`uncollapse.augment.of`).
        query: "clean" takes the latents of the pass at hand; "view" encodes a further view, with gradient.
        reconstruct: "clean", or "view": the batch is replaced by a view before it is encoded, in training, and the
            decoder describes that view; with query "view", which it then supplies without a further pass. In a loop
            of one's own, draw from `remedy.prepare(x)`.
        key: what gives keys: "ema"; the ablations "frozen" (the copy never moves: random keys, if the encoder had
            random weights), "none" (the encoder itself, without gradient) and "end_to_end" (itself, with gradient).
        momentum: m, in [0, 1].
        queue: keys of earlier batches that are kept, 0 for none. Those that have not come yet are no candidates.
        in_batch: whether the keys of the rest of the batch are candidates; without them, a queue is needed, and while
            it is empty the term is 0.
        temperature: tau.
        symmetric: mean with the term of the roles exchanged: one more pass with gradient and one without.
        compare: "sample" compares draws from both posteriors, "mean" their means. Directions of means survive any
            scale, so the loss then falls while noise drowns the code.
        batch_norm: "batch": the key encoder works in training mode, as published, with the statistics of its batch
            (and dropout, if it has any); "running": in evaluation mode, with the average of the running statistics.
            These lag, so keys start poor, but they do not tell in which batch they were made. In both cases running
            statistics are moved by the model's own pass alone.
        read_q: reader of the key encoder's output. A wrapper that changes the posterior does not reach the keys:
            they are read_q(encoder(x)).

    In evaluation the candidates are the keys of the batch, whatever the queue holds, so that scores of different
    moments compare.

    Raises:
        BadInput: for an unknown choice, a number out of range, choices that exclude each other, a batch of one, or a
            model whose encoder is not built like the one given.
        ShapeError: when a view changes the shape or the key's posterior is not over D latents.

    References:
        Lygerakis, Rueckert, 2023, https://arxiv.org/abs/2309.02968; He et al., 2020, https://arxiv.org/abs/1911.05722.

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> remedy = MomentumContrast(model.encoder, latent=4, augment="bits")
        >>> remedy(draw(model, torch.rand(5, 16)), model).shape
        torch.Size([5])
    """

    sources = (
        "Lygerakis, Rueckert, 2023, CR-VAE: Contrastive Regularization on Variational Autoencoders for Preventing "
        "Posterior Collapse, https://arxiv.org/abs/2309.02968",
        "He, Fan, Wu, Xie, Girshick, 2020, Momentum Contrast for Unsupervised Visual Representation Learning, "
        "https://arxiv.org/abs/1911.05722",
    )
    draws_noise = True

    def __init__(
        self,
        encoder: nn.Module,
        latent: int,
        weight: float | Schedule = 1.0,
        augment: augmentations.Spec = "crop",
        query: Side = "clean",
        reconstruct: Side = "clean",
        key: Key = "ema",
        momentum: float = 0.99,
        queue: int = 0,
        in_batch: bool = True,
        temperature: float = 0.1,
        symmetric: bool = False,
        compare: Compare = "sample",
        batch_norm: Statistics = "batch",
        read_q: Reader = gaussian,
    ) -> None:
        super().__init__(weight)
        widths("MomentumContrast", latent=latent)
        self.latent, self.read_q, self.symmetric, self.in_batch = latent, read_q, bool(symmetric), bool(in_batch)
        self.augment = augmentations.of(augment)
        self.query, self.reconstruct = one_of("query", query, Side), one_of("reconstruct", reconstruct, Side)
        self.key, self.compare = one_of("key", key, Key), one_of("compare", compare, Compare)
        self.batch_norm = one_of("batch_norm", batch_norm, Statistics)
        self.momentum, self.queue = momentum, queue
        self.check(encoder)
        self.cosine = Cosine(positive("temperature", temperature))
        self.bank = Bank(queue, latent) if queue else None
        self.key_encoder = duplicate(encoder) if key in {"ema", "frozen"} else None
        self.train()
        self._clean: Tensor | None = None
        self._keys: Tensor | None = None

    def check(self, encoder: Any) -> None:
        """Refuse what does not fit together."""
        if not isinstance(encoder, nn.Module):
            raise BadInput(f"MomentumContrast expects the model's encoder, a module, got {describe(encoder)}")
        m, queue = self.momentum, self.queue
        if isinstance(m, bool) or not isinstance(m, int | float) or not 0 <= m <= 1:
            raise BadInput(f"momentum should be a number from 0 to 1, got {m!r}")
        if isinstance(queue, bool) or not isinstance(queue, int) or queue < 0:
            raise BadInput(f"queue should be a number of keys, 0 for none, got {queue!r}")
        if not self.in_batch and not queue:
            raise BadInput("in_batch=False leaves no candidates without a queue; give queue=4096, say")
        if self.reconstruct == "view" and self.query == "clean":
            raise BadInput('reconstruct="view" encodes a view, so there is no clean query; give query="view" too')

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The key encoder, if it is a copy."""
        return () if self.key_encoder is None else (self.key_encoder,)

    def train(self, mode: bool = True) -> "MomentumContrast":
        """Training or evaluation mode; the key encoder trains only with the statistics of the batch."""
        super().train(mode)
        if self.key_encoder is not None:
            self.key_encoder.train(mode and self.batch_norm == "batch")
        return self

    def prepare(self, x: Tensor) -> Tensor:
        """The batch that is encoded and described, (B, *X): a view if views are reconstructed."""
        if self.reconstruct == "clean" or not self.training:
            return x
        self._clean = x
        return self.view(x)

    def term(self, draw: Draw, model: Model) -> Tensor:
        """Cross-entropy of naming the own key, (B,) nats, mean over the K samples."""
        zs = compared(draw, self.compare, "MomentumContrast")
        first, second = self.views(draw)
        if first is not draw.x:
            zs = self.encoded(model, first)
        keys = self.keys(model, second)
        loss = self.named(zs, keys)
        if self.symmetric:
            others = self.keys(model, first)
            loss = 0.5 * (loss + self.named(self.encoded(model, second), others))
            keys = torch.cat([keys, others])
        if self.bank is not None and self.training and torch.is_grad_enabled():
            self._keys = keys.detach()
        return loss

    def views(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """What queries and keys see, (B, *X) each."""
        clean, self._clean = self._clean, None
        if clean is not None and clean.shape == draw.x.shape:
            return draw.x, self.view(clean)  # draw.x is the view that `prepare` made
        first = self.view(draw.x) if self.query == "view" and self.reconstruct == "clean" else draw.x
        return first, self.view(draw.x)

    def view(self, x: Tensor) -> Tensor:
        """A view of the batch, (B, *X)."""
        with torch.no_grad():
            view = self.augment(x)
        if not isinstance(view, Tensor) or view.shape != x.shape:
            raise ShapeError(f"augment should keep the shape of the batch, {tuple(x.shape)}, got {describe(view)}")
        return view

    def encoded(self, model: Model, x: Tensor) -> Tensor:
        """A sample or the mean of the model's own posterior, (1, B, D), its running statistics left alone."""
        with still(model):
            return self.picked(model.posterior(x))

    def keys(self, model: Model, x: Tensor) -> Tensor:
        """Keys (B, D)."""
        if self.key_encoder is None:
            with torch.set_grad_enabled(self.key == "end_to_end" and torch.is_grad_enabled()):
                return self.encoded(model, x)[0]
        with torch.no_grad(), still(self.key_encoder):
            return self.picked(self.read_q(called(self.key_encoder, x, "key encoder")))[0]

    def picked(self, q: Distribution) -> Tensor:
        """What is compared of a posterior, (1, B, D)."""
        if q.event_shape != (self.latent,):
            raise ShapeError(f"the key's posterior should be over {self.latent} latents, got {tuple(q.event_shape)}")
        return sample(q, 1) if self.compare == "sample" else q.mean.unsqueeze(0)

    def named(self, zs: Tensor, keys: Tensor) -> Tensor:
        """Cross-entropy (B,) of naming the own key among the candidates, mean over queries (K, B, D)."""
        past = None if self.bank is None or not self.training else self.cosine.right(self.bank.filled.to(keys))
        among = self.in_batch or past is None
        right = self.cosine.right(keys)
        return torch.stack([naming(self.cosine.left(z), right, past, right.dtype, among) for z in zs]).mean(0)

    @torch.no_grad()
    def after_step(self, model: Model) -> None:
        """Count the step, move the key encoder, put the keys into the queue."""
        super().after_step(model)
        if self.key == "ema" and self.key_encoder is not None:
            follow(self.key_encoder, getattr(model, "encoder", None), self.momentum)
        if self.bank is not None and self._keys is not None:
            self.bank.put(self._keys)
        self._keys = self._clean = None

    @property
    def arrives(self) -> int:
        """The step at which the weight is final, and not before the queue is full."""
        waiting = self.bank is not None and self.bank.written < self.bank.size
        return max(super().arrives, self.step + 1) if waiting else super().arrives

    def ceiling(self, batch: int) -> float:
        """What the temperature leaves of log K, K the number of candidates once the queue is full."""
        return self.cosine.ceiling((batch if self.in_batch else 1) + self.queue)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        choices = ("query", "reconstruct", "key", "momentum", "queue", "in_batch")
        more = ("symmetric", "compare", "batch_norm")
        return (
            f"weight={shown(self.weight)}, augment={shown(self.augment)}, "
            + ", ".join(f"{name}={getattr(self, name)!r}" for name in choices)
            + f", temperature={self.cosine.temperature:g}, "
            + ", ".join(f"{name}={getattr(self, name)!r}" for name in more)
        )
