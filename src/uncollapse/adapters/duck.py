"""Any object with something like an encoder and a decoder, read by trying it on one batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.encoding import DECODERS, HOW, Encoding, encoding_of, modules_of, named, on_device
from uncollapse.adapters.levels import Levels
from uncollapse.adapters.observed import Seen, choose
from uncollapse.codes import device_of, dtype_of, evaluation
from uncollapse.distributions import Folded, Reader, standard_normal
from uncollapse.errors import BadInput, Unsupported

__all__ = ["Foreign", "adapt_duck"]


class Foreign(nn.Module):
    """Somebody's model behind `posterior`, `likelihood` and `prior`; it only borrows the model's modules.

    Arguments:
        native: the model; a module, or any object that holds modules.
        encoding: how posteriors are read.
        decode: from latents, in the model's own shape, to its raw output; None if it has no decoder.
        seen: how that output is read; None without a decoder.
        given: the prior; N(0, I) if None.
    """

    def __init__(
        self,
        native: Any,
        encoding: Encoding,
        decode: Callable[[Any], Any] | None,
        seen: Seen | None,
        given: Callable[[], Distribution] | None = None,
    ) -> None:
        super().__init__()
        self.native = modules_of(native)
        self.encoding, self.decode, self.seen, self.given = encoding, decode, seen, given

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, *X) gives batch (B,), event (D,)."""
        x = self.encoding.enter(x.to(device_of(self), dtype_of(self)))
        return self.encoding.reading(self.encoding.call(x))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z): z (*L, D) gives batch L, event X."""
        if self.decode is None or self.seen is None:
            raise Unsupported(f"this model has no decoder that could be called on z; {HOW}")
        flat = z.reshape(-1, z.shape[-1]).to(device_of(self), dtype_of(self))
        px = self.seen.read(self.decode(self.encoding.reading.levels.unflat(flat)))
        return px if z.ndim == 2 else Folded(px, Size(z.shape[:-1]))

    def prior(self) -> Distribution:
        """p(z): batch (), event (D,)."""
        if self.given is not None:
            return self.given()
        return standard_normal(sum(self.encoding.reading.levels.sizes), device_of(self))


def adapt_duck(
    native: Any,
    x: Tensor | None,
    likelihood: str | Reader | None = None,
    prior: Distribution | None = None,
    kind: str = "encode/decode",
) -> Adapted:
    """See through anything that encodes, by trying it on a batch.

    Arguments:
        native: the model.
        x: (B, *X), a batch as the model takes it.
        likelihood: how to read the decoder's output (see `observed.choose`).
        prior: p(z), where it is not N(0, I) or found as `native.prior`.
        kind: what to call it.

    Raises:
        BadInput: when x is missing or nothing that encodes is found.
        Unsupported: for an autoencoder without a posterior.
    """
    if x is None:
        raise BadInput("adapt needs a batch of data to see what this model's encoder returns; pass x=")
    with evaluation(modules_of(native), 0):
        x = on_device(x, modules_of(native))
        encoding = encoding_of(native, x)
        q = encoding.reading(encoding.call(encoding.enter(x)))
        decode, seen, remark = decoding_of(native, q, x, encoding.reading.levels, likelihood)
    given, about = prior_of(native, q, prior)
    remarks = [*encoding.remarks, *encoding.reading.remarks, remark, seen.remark if seen else "", about]
    return Adapted(
        Foreign(native, encoding, decode, seen, given),
        kind=kind,
        decodes=seen is not None,
        remarks=tuple(text for text in remarks if text),
        groups=encoding.reading.levels.groups(),
        assumed=seen is not None and seen.assumed,
    )


def decoding_of(native: Any, q: Distribution, x: Tensor, levels: Levels, likelihood: Any) -> Any:
    """(decode, how it is read, remark); (None, None, why not) where no decoder can be called on z alone."""
    found = named(native, DECODERS)
    if found is None:
        return None, None, "the model has no decode(z) or decoder, so nothing that needs p(x|z) is computed"
    z = (q.rsample() if q.has_rsample else q.sample()).to(dtype_of(modules_of(native)))
    error: Exception | None = None
    for call in (found[1], spread_out(found[1])) if levels.several else (found[1],):
        try:
            return call, choose(call(levels.unflat(z)), x, likelihood), ""
        except BadInput:
            if likelihood is not None:
                raise
            error = error or BadInput("its output does not have the shape of x")
        except Exception as problem:
            if isinstance(problem, torch.OutOfMemoryError):
                raise
            error = error or problem
    return None, None, f"{found[0]}(z) could not be used ({error}), so nothing that needs p(x|z) is computed"


def spread_out(call: Callable[..., Any]) -> Callable[[Any], Any]:
    """A decoder that takes its levels as separate arguments."""
    return lambda levels: call(*levels)


def prior_of(native: Any, q: Distribution, given: Any) -> tuple[Callable[[], Distribution] | None, str]:
    """The prior that was given or that the model carries, and a remark where it carries one that cannot be read."""
    owned = {name: getattr(native, name, None) for name in ("prior", "p_z", "pz", "get_prior")}
    name, one = next(((name, one) for name, one in owned.items() if one is not None), ("", None))
    name, one = ("prior=", given) if given is not None else (name, one)
    if one is None:
        return None, ""
    make = one if callable(one) and not isinstance(one, Distribution) else (lambda: one)
    try:
        p = make()
        shape = (*p.batch_shape, *p.event_shape)
    except Exception:  # anything may be called prior
        shape = ()
    if shape == tuple(q.event_shape):
        return (lambda: joined(make())), ""
    if given is not None:
        raise BadInput(f"prior should be a distribution over {tuple(q.event_shape)}, got one over {shape}")
    return None, f"the model's own {name} is no distribution over {tuple(q.event_shape)}: N(0, I) is taken instead"


def joined(p: Distribution) -> Distribution:
    """One distribution over all columns of z."""
    return Independent(p, 1, validate_args=False) if p.batch_shape else p
