"""Log probability of a token among all others, from scores of any precision, without copies of all scores."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["token_log_prob"]

BLOCK = 2**18  #: scores that are worked on at once on a processor, in float32; they stay in its cache
SMALL = 2**23  #: as many scores are left to the plain operations: in float32 they fill memory that is used again


def token_log_prob(scores: Tensor, ids: Tensor) -> Tensor:
    r"""Log probability of one token a row.

    $\log p_i = s_{i, y_i} - \log \sum_v e^{s_{iv}}$

    The same as cross-entropy of the scores in float32, and with the same gradient. Of many scores on a processor no
    copy is made or kept in that precision: for a large vocabulary it takes half as long as the product they come from.
    The gradient may be differentiated once more.

    Arguments:
        scores: (M, V), in half or full precision.
        ids: (M,) whole numbers from 0 to V - 1.

    Returns:
        (M,) nats, at most 0, in float32 or better.

    Example:
        >>> token_log_prob(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor([-1.3863, -1.3863])
    """
    if scores.numel() <= SMALL or scores.device.type != "cpu":
        return -F.cross_entropy(wide(scores), ids, reduction="none")
    nats: Tensor = TokenLogProb.apply(scores, ids)  # type: ignore[no-untyped-call]
    return nats


class TokenLogProb(torch.autograd.Function):
    """The log probability of one column of every row, block of rows by block; see `token_log_prob`."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, ids: Tensor) -> Tensor:
        """(M, V) and (M,) give (M,)."""
        ctx.save_for_backward(scores, ids)
        size = height(scores)
        pieces = zip(torch.split(scores, size), torch.split(ids, size), strict=True)
        return torch.cat([-F.cross_entropy(wide(rows), own, reduction="none") for rows, own in pieces])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """The slope at the token, minus slope times probability everywhere."""
        scores, ids = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradient's own gradient
            own = F.one_hot(ids, scores.shape[1])
            return (slope.unsqueeze(1) * (own - wide(scores).softmax(1))).to(scores.dtype), None
        out, size = torch.empty_like(scores), height(scores)
        for part, rows, own, pull in zip(
            *(torch.split(whole, size) for whole in (out, scores, ids, slope)), strict=True
        ):
            shares = wide(rows).softmax(1).mul_(-pull.unsqueeze(1))
            part.copy_(shares.scatter_add_(1, own.unsqueeze(1), pull.unsqueeze(1)))
        return out, None


def wide(scores: Tensor) -> Tensor:
    """In float32 or better."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def height(scores: Tensor) -> int:
    """How many rows are worked on at once."""
    return max(BLOCK // scores.shape[1], 1)
