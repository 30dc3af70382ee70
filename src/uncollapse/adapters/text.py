"""Text VAEs in the manner of transformers: `encode(input_ids, ...)`, and a decoder that sees z and the text so far."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.conditioned import Conditioned
from uncollapse.adapters.encoding import HOW, modules_of
from uncollapse.adapters.parts import parts_of, returned_names
from uncollapse.adapters.posterior import Reading, decide
from uncollapse.codes import device_of, dtype_of, evaluation
from uncollapse.distributions import Reader, precise, standard_normal
from uncollapse.errors import BadInput, ShapeError, Unsupported

__all__ = ["adapt_text", "takes_tokens"]

TOKENS = ("input_ids", "tokens", "token_ids", "ids", "decoder_input_ids")
MASKS = ("attention_mask", "mask", "padding_mask")
NONE = -1  #: a padding id that no token has


@dataclass(frozen=True)
class Tokens:
    """How a model writes its text.

    Attributes:
        pad: id of the padding; -1 if every token counts.
        end: id of the end of a text, or None.
        shift: 1 where the scores at a place are for the next token, 0 where they are for the token at that place.
    """

    pad: int
    end: int | None = None
    shift: int = 1

    def mask(self, ids: Tensor) -> Tensor:
        """(B, T), which tokens are text; where padding and end are one id, the first of the last run is the end."""
        pads = ids == self.pad
        if self.end != self.pad:
            return ~pads
        tail = pads.flip(1).long().cumprod(1).flip(1).bool()
        return ~tail | (tail & ~F.pad(tail, (1, -1)))


class Text(nn.Module):
    """A text VAE behind `posterior`, `likelihood` and `prior`; x is a table of token ids (B, T).

    Arguments:
        native: the model.
        reading: how its encoder's output is read.
        tokens: padding, end and alignment.
        length: T, to which all texts are padded.
        given: the prior; N(0, I) if None.
    """

    def __init__(
        self, native: Any, reading: Reading, tokens: Tokens, length: int, given: Distribution | None = None
    ) -> None:
        super().__init__()
        self.native, self.reading, self.tokens, self.length, self.given = native, reading, tokens, length, given

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): token ids (B, T) give batch (B,), event (D,)."""
        ids = ids_of(x).to(device_of(self))
        return self.reading(asked(self.native.encode, ids, self.tokens.mask(ids)))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(text|z): batch L, event (T,); `log_prob` makes one teacher-forced pass."""
        return Conditioned(z, Size((self.length,)), self.score, type(self.native).__name__)

    def score(self, z: Tensor, x: Tensor) -> Tensor:
        """log p(text|z), (n,) nats: the sum over the tokens that are text and that the decoder scores."""
        ids = ids_of(x).to(device_of(self))
        keep, shift = self.tokens.mask(ids), self.tokens.shift
        logits = scores(self.native, self.reading, z, ids, keep)[:, : ids.shape[1] - shift]
        nats = -F.cross_entropy(logits.transpose(1, 2), ids[:, shift:], reduction="none")
        return (nats * keep[:, shift:]).sum(1)

    def prior(self) -> Distribution:
        """p(z): N(0, I) unless another one was given."""
        return self.given or standard_normal(sum(self.reading.levels.sizes), device_of(self))


def adapt_text(
    native: Any, x: Tensor | None = None, likelihood: str | Reader | None = None, prior: Distribution | None = None
) -> Adapted:
    """A text VAE whose `encode` takes token ids and whose `decode(z, ids)` returns scores over the vocabulary.

    Whether the scores at a place are for that token or for the next one is found out by changing a token and looking
    where the scores move. Padding is the model's `pad_token_id` (or its configuration's), and is not scored.

    Arguments:
        native: the model.
        x: (B, T), whole numbers, padded to one length.
        likelihood: not taken: the decoder's scores are a softmax over the vocabulary.
        prior: p(z); N(0, I) if None.

    Raises:
        BadInput: when x is missing, or no posterior can be read.
        Unsupported: when the decoder sees the tokens that it is to predict.
    """
    if x is None:
        raise BadInput("adapt needs a batch of token ids to see what this model's encoder returns; pass x=")
    if likelihood is not None:
        raise BadInput("a text model's likelihood is the softmax of its decoder's scores; leave likelihood= out")
    pad, end = told(native, "pad_token_id", "pad_id", "pad_idx"), told(native, "eos_token_id", "eos_id", "eos_idx")
    plain = Tokens(NONE if pad is None else pad, end)
    with evaluation(modules_of(native), 0):
        ids = ids_of(x).to(device_of(modules_of(native)))
        keep = plain.mask(ids)
        reading = decide(lambda: asked(native.encode, ids, keep), returned_names(native.encode), native)
        if reading is None:
            raise BadInput(f"no posterior could be read from {type(native).__name__}.encode; {HOW}")
        shift = alignment(native, reading, ids, keep) if callable(getattr(native, "decode", None)) else None
    model = Text(native, reading, Tokens(plain.pad, end, shift or 0), ids.shape[1], prior)
    remarks = [*reading.remarks, padding(pad), aligned(shift)]
    return Adapted(model, kind="text", decodes=shift is not None, remarks=tuple(remarks))


def takes_tokens(model: Any) -> bool:
    """Whether a model encodes token ids, by the name of an argument."""
    encode = getattr(model, "encode", None)
    return callable(encode) and bool({*TOKENS[:3]} & set(inspect.signature(encode).parameters))


def ids_of(x: Tensor) -> Tensor:
    """Token ids as whole numbers; they may come as floats, which is exact up to 2^24 in single precision."""
    if x.ndim != 2:
        raise ShapeError(f"texts should be token ids (B, T), got a tensor of shape {tuple(x.shape)}")
    if x.dtype in (torch.float16, torch.bfloat16):
        raise BadInput("token ids do not survive half precision; hand over whole numbers, or call model.float() first")
    return x.round().long() if x.is_floating_point() else x.long()


def asked(function: Callable[..., Any], ids: Tensor, keep: Tensor, z: Any = None) -> Any:
    """Call a foreign method with token ids, their mask and z, each under the name that it has there."""
    names = list(inspect.signature(function).parameters)
    given: dict[str, Any] = {}
    text = next((name for name in names if name in TOKENS), None)
    mask = next((name for name in names if name in MASKS), None)
    if mask is not None:
        given[mask] = keep.long()
    if text is not None:
        given[text] = ids
    if z is not None:
        given[next(name for name in names if name not in given)] = z
    return function(**given)


def scores(native: Any, reading: Reading, z: Tensor, ids: Tensor, keep: Tensor) -> Tensor:
    """What the decoder says of every place, (B, L, V)."""
    latent = reading.levels.unflat(z.to(device_of(native), dtype_of(native)))
    parts = [value for _, value in parts_of(asked(native.decode, ids, keep, latent)) if isinstance(value, Tensor)]
    wide = [value for value in parts if value.ndim == 3 and len(value) == len(ids)]
    if not wide:
        raise BadInput(
            f"{type(native).__name__}.decode should return scores (B, T, vocabulary), got {len(parts)} parts"
        )
    return precise(wide[0])


def alignment(native: Any, reading: Reading, ids: Tensor, keep: Tensor) -> int:
    """1 if the scores at a place are for the next token, 0 if they are for the token there."""
    z = reading(asked(native.encode, ids, keep)).mean
    place = max(int(keep.sum(1).min()) // 2, 1)
    other = ids.clone()
    other[:, place:] = torch.where(ids[:, place:] == ids.max(), ids.min(), ids.max())
    first, second = scores(native, reading, z, ids, keep), scores(native, reading, z, other, keep)
    moved = (first - second).abs().amax((0, 2)) > 1e-4 * first.abs().max()
    start = int(moved.nonzero()[0]) if bool(moved.any()) else ids.shape[1]
    if start < place:
        raise Unsupported(
            f"{type(native).__name__}.decode sees later tokens: changing them from place {place} on moves the scores "
            f"at place {start}, so these are no likelihood; check the causal mask"
        )
    return int(start == place)


def told(native: Any, *names: str) -> int | None:
    """An id that the model, its configuration or that of a part declares."""
    parts = [native, *(native.modules() if isinstance(native, nn.Module) else [])]
    for holder in [one for part in parts for one in (part, getattr(part, "config", None))]:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def padding(pad: int | None) -> str:
    """What is taken for padding, in words."""
    if pad is None:
        return "no padding id was found, so every token is scored; set model.pad_token_id if texts are padded"
    return f"token {pad} is padding and is not scored"


def aligned(shift: int | None) -> str:
    """What the decoder scores, in words."""
    if shift is None:
        return "the model has no decode(z, ids), so nothing that needs p(x|z) is computed"
    return "log p(x|z) is that of tokens 2 to T given the first" if shift else "log p(x|z) counts every token"
