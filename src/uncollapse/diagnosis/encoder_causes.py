"""Causes that lie in the encoder: it says the same of every input, is not trained, or changes between modes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.modules.batchnorm import _BatchNorm

from uncollapse.codes import evaluation
from uncollapse.diagnosis.finding import Finding, clear, found, untested
from uncollapse.diagnosis.reaching import reached
from uncollapse.diagnosis.subject import Evidence, Subject

__all__ = ["batch_statistics", "dead_head", "outside_optimizer"]

SAME = 1e-5  #: relative spread of an output over the inputs below which it is one constant with rounding
MOVED = 0.5  #: shift of the means between modes, in units of the codes' spread, from which batch statistics matter


def dead_head(subject: Subject, evidence: Evidence) -> Finding:
    """Whether the encoder's output is one constant, or its weights cannot learn."""
    codes, cause = subject.codes, "dead encoder head"
    constant = constants(codes.mean) & (True if codes.scale is None else constants(codes.scale))
    dead, size = int(constant.sum()), codes.latent
    frozen, learnable = learning(subject)
    numbers = {"dead": float(dead), "latents": float(size), "frozen": float(frozen)}
    if reached(subject) is False:
        return found(
            cause, "In the loss the decoder's output has no gradient by the encoder's: something between them detaches "
            "it (detach, no_grad, a sample without reparametrisation), so that the encoder learns from the KL alone.",
            **numbers,
        )  # fmt: skip
    if dead == size:
        return found(
            cause, f"The encoder gives every input the same posterior, to the last digit, in all {size} latents.",
            **numbers,
        )  # fmt: skip
    if frozen and not learnable:
        return found(
            cause, f"None of the encoder's {frozen} weight tensors can learn: requires_grad is off, while the "
            "decoder's is on.", 0.8, **numbers,
        )  # fmt: skip
    if dead:
        said = (
            f"{dead} of {size} latents are the same constant for every input, to the last digit: what leads to them "
            "has no weights or a dead activation."
        )
        return replace(found(cause, said, dead / size, **numbers), late=True)  # perhaps nothing was to be learned there
    return clear(cause, f"Every latent of {size} varies with the input, if only a little.", **numbers)


def constants(table: Tensor) -> Tensor:
    """Which columns of (N, D) hold one number, but for rounding, (D,)."""
    table = table.double()
    return table.std(0) <= SAME * table.abs().mean(0).clamp(min=1e-3)


def learning(subject: Subject) -> tuple[int, int]:
    """How many weight tensors of the encoder cannot learn, and how many can; (0, 0) unless the decoder can."""
    used, frozen = encoder_parameters(subject)
    module = subject.module
    if module is None:
        return 0, 0
    others = {id(p) for p in module.parameters() if p.requires_grad} - {id(p) for p in used}
    return (len(frozen), len(used)) if others else (0, 0)


def encoder_parameters(subject: Subject) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weight tensors that the posterior depends on: those that require gradients, and those that do not."""
    module = subject.module
    if module is None or not len(subject.x):
        return [], []
    named = list(module.parameters())
    flags = [p.requires_grad for p in named]
    try:
        for parameter in named:
            parameter.requires_grad_(parameter.is_floating_point())
        with still(module), torch.enable_grad():
            q = subject.model.posterior(subject.some(8))
            total = outputs(q).sum()
        if not total.requires_grad:
            return [], []
        able = [p for p in named if p.requires_grad]
        gradients = torch.autograd.grad(total, able, allow_unused=True)
        used = {id(p) for p, g in zip(able, gradients, strict=True) if g is not None}
    finally:
        for parameter, flag in zip(named, flags, strict=True):
            parameter.requires_grad_(flag)
    pairs = list(zip(named, flags, strict=True))
    return [p for p, flag in pairs if flag and id(p) in used], [p for p, flag in pairs if not flag and id(p) in used]


def outputs(q: Distribution) -> Tensor:
    """Mean and spread of posteriors as one tensor."""
    try:
        return torch.cat([q.mean.flatten(), q.stddev.flatten()])
    except NotImplementedError:
        return q.mean.flatten()


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients allowed; modes and the random state are put back."""
    with evaluation(module, 0), torch.enable_grad():
        yield


def outside_optimizer(subject: Subject, evidence: Evidence) -> Finding:
    """Whether weights that the posterior depends on are missing from the user's optimiser."""
    cause = "encoder outside the optimiser"
    if subject.optimizer is None:
        return untested(cause, "Pass optimizer= to see whether it holds the encoder's weights.")
    used, _ = encoder_parameters(subject)
    if not used:
        return untested(cause, "The model has no weights on which its posterior depends.")
    held = {id(p) for group in subject.optimizer.param_groups for p in group["params"]}
    if subject.module is not None and not held & {id(p) for p in subject.module.parameters()}:
        return untested(
            cause, "The optimiser holds no weight of this model: it belongs to another one, or to the model from which "
            "this one was copied or loaded."
        )  # fmt: skip
    missing = [p for p in used if id(p) not in held]
    numbers = {"missing": float(len(missing)), "tensors": float(len(used))}
    if missing:
        return found(
            cause,
            f"{len(missing)} of the {len(used)} weight tensors that the posterior depends on are not in the optimiser.",
            len(missing) / len(used),
            **numbers,
        )
    return clear(cause, f"All {len(used)} weight tensors of the encoder are in the optimiser.", **numbers)


def batch_statistics(subject: Subject, evidence: Evidence) -> Finding:
    """Whether batch normalisation gives other posteriors, or a worse likelihood, in evaluation than in training."""
    cause, module = "batch statistics", subject.module
    layers = [] if module is None else [m for m in module.modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return clear(cause, "The model has no batch normalisation.")
    x = subject.some(512)
    if len(x) < 16:
        return untested(cause, "At least 16 examples are needed to compute batch statistics.")
    with evaluation(module, subject.seed):
        q = subject.model.posterior(x)
        settled, width = q.mean.double(), width_of(q)
        before = loss_of(subject, x, settled)
        with batch_mode(layers):
            fresh = subject.model.posterior(x).mean.double()
            after = loss_of(subject, x, fresh)
    varied = torch.maximum(fresh.var(0), settled.var(0))  # of the means; a shift inside the posteriors' width is none
    spread = (varied + width).sum().sqrt().clamp(min=1e-12)
    shift = float((fresh - settled).square().mean(0).sum().sqrt() / spread)
    worse, gap = before - after, float(evidence.gap) if evidence is not None and evidence.gap is not None else 0.0
    numbers = {"shift": shift, "cost": worse, "layers": float(len(layers))}
    if (shift > MOVED and not worse < -1.0) or worse > max(1.0, 0.1 * abs(gap)):
        return found(
            cause,
            f"With the statistics of the batch the posterior means lie {shift:.1f} of the codes' spread away"
            + (f" and log p(x|z) is {worse:.1f} nats better" if worse == worse else "")
            + f": the running statistics of {len(layers)} batch normalisations are off.",
            **numbers,
        )
    return clear(cause, f"Running and batch statistics agree (means within {shift:.2f} of their spread).", **numbers)


def width_of(q: Distribution) -> Tensor:
    """Mean variance of the posteriors, (D,); 0 where it cannot be had."""
    try:
        return q.variance.double().mean(0)
    except NotImplementedError:
        return torch.zeros_like(q.mean.double().mean(0))


def loss_of(subject: Subject, x: Tensor, z: Tensor) -> float:
    """Mean of -log p(x|z) at given codes, nats; NaN without a decoder."""
    if not subject.adapted.decodes:
        return float("nan")
    px = subject.model.likelihood(z.to(x.device, x.dtype if x.is_floating_point() else torch.float32))
    return float(-px.log_prob(x).double().mean())


@contextmanager
def batch_mode(layers: list[_BatchNorm]) -> Iterator[None]:
    """Batch normalisations use the batch's own statistics; running ones, counters and modes are put back."""
    kept = [{name: b.clone() for name, b in layer.named_buffers(recurse=False)} for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, values in zip(layers, kept, strict=True):
            layer.training = False
            for name, value in values.items():
                getattr(layer, name).copy_(value)
