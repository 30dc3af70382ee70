"""The call: look at a model, its data and its loss before training, and say what will happen."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from uncollapse.adapters import Adapted, adapt
from uncollapse.codes import batches_of, evaluation
from uncollapse.diagnosis.objective_causes import ruled
from uncollapse.diagnosis.slopes import positional, scalar
from uncollapse.diagnosis.weight import EffectiveBeta, effective_beta
from uncollapse.draw import draw
from uncollapse.errors import BadInput, UncollapseError
from uncollapse.preflight.outcome import Check, Preflight
from uncollapse.preflight.sentences import costs, heads, inputs, latents, starts, units, weighed
from uncollapse.preflight.trial import Trial, attempt

__all__ = ["preflight"]

EXAMPLES = 4096  #: of the data that are looked at


def preflight(
    model: Any,
    data: Any,
    loss: Callable[..., Any] | None = None,
    *,
    optimizer: Optimizer | None = None,
    weight: float | None = None,
    batch_size: int = 64,
    epochs: int | None = None,
    seed: int = 0,
) -> Preflight:
    r"""Look at a model, its data and its loss before training.

    Effective weight of the KL, how many latents can stay active ($\lambda_i > \beta s^2$), whether every weight can
    learn, memory and time, and whether the first posteriors and likelihoods are sane. A few steps train a copy;
    the model itself, its gradients and torch's random state are left as they were.

    Arguments:
        model: any VAE that `adapters.adapt` reads.
        data: a tensor or array (N, *X), a pair (x, labels), a data set, or an iterable of batches.
        loss: (model, x) -> scalar, or (x_hat, x, mean, log_variance) -> scalar; the negative ELBO if None.
        optimizer: to see whether it has every weight, and what its state takes.
        weight: the declared weight of the KL; 1 if neither it nor a loss is given.
        batch_size: of training.
        epochs: to say how long all of them take.
        seed: of everything random.

    Returns:
        A `Preflight`; it prints as a table of checks, each "ok", "STOP" or a remark, with the lines to change.

    Raises:
        BadInput: when the data hold fewer than two examples, or the loss takes other arguments.

    Example:
        >>> model = uncollapse.VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4)
        >>> found = uncollapse.preflight(model, torch.rand(256, 16).round())
        >>> found.ok, found.beta.beta
        (True, 1.0)
    """
    data = data.train if hasattr(data, "train") and hasattr(data.train, "batches") else data
    x = sample(model, data, batch_size)
    adapted = adapt(model, x[:256])
    batch = x[:batch_size]
    with evaluation(model, seed):
        q = adapted.model.posterior(batch)
        px = adapted.model.likelihood(q.mean) if adapted.decodes else None
        checks = [inputs(x, px), *starts(q, px, batch)]
    given = loss if loss is not None or weight is not None else adapted.loss
    if given is None and weight is None:
        weight = 1.0
    effective = weigh(adapted, model, x, given, weight, seed)
    learned = getattr(getattr(adapted.model, "read_x", None), "learns_noise", False)  # its first value says nothing
    spectrum = None if px is None or learned else ruled(x, px, effective, adapted.assumed)
    latent = q.event_shape[-1]
    checks += [weighed(effective), latents(effective, spectrum, latent)]
    trial = tried(model, x[:256], batch, given, weight, optimizer, seed)
    if isinstance(trial, str):
        return Preflight((*checks, Check("trial steps", "unknown", trial)), effective, spectrum, latent)
    batches = count(data, batch_size)
    seconds = None if batches is None else (trial.seconds * batches, epochs and trial.seconds * batches * epochs)
    checks += [heads(trial, optimizer, model), units(trial), *costs(trial, batches, epochs, len(batch))]
    return Preflight(tuple(checks), effective, spectrum, latent, trial.memory, seconds)


def sample(model: Any, data: Any, batch_size: int) -> Tensor:
    """Examples (M, *X) from the start of the data, on the model's device; from all over it where it is a tensor."""
    if isinstance(data, Tensor) and len(data) > EXAMPLES:
        data = data[:: -(-len(data) // EXAMPLES)]
    parts = islice(batches_of(data, batch_size, model), -(-EXAMPLES // batch_size))
    found = [x for x, _ in parts]
    if not found or sum(map(len, found)) < 2:
        raise BadInput("pre-flight needs at least two examples")
    return torch.cat(found)[:EXAMPLES]


def weigh(adapted: Adapted, native: Any, x: Tensor, loss: Any, weight: float | None, seed: int) -> EffectiveBeta:
    """The effective weight; a loss that takes other arguments is the caller's to mend, everything else is reported."""
    if loss is not None:
        positional(loss)
    try:
        return effective_beta(adapted.model, x, loss, weight, native, seed, adapted.assumed)
    except (UncollapseError, RuntimeError, ValueError, NotImplementedError) as error:
        return EffectiveBeta(None, str(error).splitlines()[0], "unknown")


def tried(
    model: Any, x: Tensor, batch: Tensor, loss: Any, weight: float | None, optimizer: Any, seed: int
) -> Trial | str:
    """The trial steps, or why there were none."""
    if not isinstance(model, nn.Module):
        return "the model is no torch module, so that it could not be copied and trained."
    try:
        return attempt(model, lambda copy: adapt(copy, x).model, batch, priced(loss, weight), optimizer, seed)
    except Exception as error:  # somebody's model and loss may fail in any way
        return f"a training step failed with {type(error).__name__}: {str(error)[:200]}"


def priced(loss: Any, weight: float | None) -> Callable[[Any, Any, Tensor], Tensor]:
    """The loss of a batch as a function of the module, the adapted model and x."""

    def elbo(native: Any, view: Any, x: Tensor) -> Tensor:
        one = draw(view, x)
        return ((1.0 if weight is None else weight) * one.kl.sum(1) - one.log_px.mean(0)).mean()

    def classic(native: Any, view: Any, x: Tensor) -> Tensor:
        one = draw(view, x)
        return scalar(loss(one.px.mean[0], x, one.q.mean, one.q.variance.log()))

    if loss is None:
        return elbo
    return classic if positional(loss) == 4 else lambda native, view, x: scalar(loss(native, x))


def count(data: Any, batch_size: int) -> int | None:
    """Batches of an epoch; None where the data do not tell."""
    if isinstance(data, tuple) and data and hasattr(data[0], "__len__"):
        return -(-len(data[0]) // batch_size)
    if not hasattr(data, "__len__"):
        return None
    if hasattr(data, "batches") or hasattr(data, "shape"):
        return -(-len(data) // batch_size)
    return len(data)
