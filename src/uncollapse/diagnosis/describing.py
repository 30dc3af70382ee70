"""The model, the data and the versions in plain values."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from uncollapse.codes import evaluation
from uncollapse.diagnosis.inference_causes import inner
from uncollapse.diagnosis.subject import Subject
from uncollapse.distributions import Folded, is_bernoulli

__all__ = ["data_of", "misfit", "model_of", "training", "versions"]


def model_of(subject: Subject) -> dict[str, Any]:
    """Class, kind of adapter, latents, likelihood, prior and size."""
    module = subject.module
    return {
        "class": type(subject.native if subject.native is not None else subject.model).__name__,
        "kind": subject.adapted.kind,
        "latents": subject.codes.latent,
        "groups": {name: list(part.indices(subject.codes.latent)[:2]) for name, part in subject.adapted.groups.items()},
        "likelihood": likelihood(subject),
        "prior": prior(subject),
        "parameters": 0 if module is None else sum(p.numel() for p in module.parameters()),
        "decodes": subject.adapted.decodes,
    }


def likelihood(subject: Subject) -> str:
    """The family of p(x|z), and whether it was assumed."""
    if not subject.adapted.decodes or not len(subject.x):
        return "unknown: no decoder was asked"
    try:
        with evaluation(subject.module, subject.seed):
            px = subject.model.likelihood(subject.z[:2])
    except Exception:  # somebody's decoder may raise anything
        return "unknown: the decoder could not be asked"
    name = type(inner(px.base if isinstance(px, Folded) else px)).__name__
    return f"{name} (assumed)" if subject.adapted.assumed else name


def prior(subject: Subject) -> str:
    """The family of p(z), `N(0, I)` where it is that."""
    try:
        found = subject.model.prior()
    except Exception:  # somebody's prior may raise anything
        return "unknown"
    base: Any = inner(found)
    if isinstance(base, torch.distributions.Normal):
        standard = bool((base.loc == 0).all()) and bool((base.scale == 1).all())
        return "N(0, I)" if standard else "Normal, not standard"
    return type(base).__name__


def data_of(subject: Subject) -> dict[str, Any]:
    """How many, of what shape, and how many of them were looked at closely."""
    return {
        "n": len(subject.codes) + subject.dropped,
        "shape": list(subject.x.shape[1:]),
        "sampled": len(subject.x),
        "dropped": subject.dropped,
        "distinct": subject.distinct,
    }


def versions() -> dict[str, str]:
    """Of this package and torch."""
    out = {}
    for name in ("uncollapse", "torch", "numpy"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "source"
    return out


def misfit(subject: Subject) -> list[str]:
    """A remark on data to which the likelihood gives no probability."""
    if not subject.adapted.decodes or not len(subject.x):
        return []
    low, high = float(subject.x.min()), float(subject.x.max())
    try:
        with evaluation(subject.module, subject.seed):
            binary = is_bernoulli(subject.model.likelihood(subject.z[:2]))
    except Exception:  # what the decoder refuses is told where it is asked
        return []
    if not binary or (low >= 0 and high <= 1):
        return []
    return [
        f"The Bernoulli likelihood is for values between 0 and 1, but the data have {low:.3g} to {high:.3g}: scale "
        "them as in training, or name another likelihood; until then log p(x|z) means nothing."
    ]


def training(module: nn.Module | None) -> bool:
    """Whether a layer that behaves otherwise in training was left in training mode."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    return module is not None and any(m.training for m in module.modules() if isinstance(m, kinds))
