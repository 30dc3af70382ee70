"""The masked convolution of a PixelCNN."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.nets.stepping import Memory

__all__ = ["MaskedConv"]


class MaskedConv(nn.Module):
    """Convolution that sees no later pixel; only the rows of the kernel that may be seen are kept.

    Arguments:
        into, out: channels.
        kernel: odd size.
        groups: image channels; the features fall into as many groups, in order.
        hide_self: type A, the group itself is hidden at its own pixel; otherwise type B, it is seen.
    """

    def __init__(self, into: int, out: int, kernel: int, groups: int, hide_self: bool = False) -> None:
        super().__init__()
        self.border, self.hide_self = kernel // 2, hide_self
        mask = torch.ones(out, into, self.border + 1, kernel)
        mask[:, :, -1, self.border + 1 :] = 0
        source = torch.arange(into) * groups // into
        target = (torch.arange(out) * groups // out).unsqueeze(1)
        mask[:, :, -1, self.border] = (source < target if hide_self else source <= target).float()
        self.weight = nn.Parameter(torch.empty_like(mask))
        self.bias = nn.Parameter(torch.empty(out))
        self.register_buffer("mask", mask, persistent=False)
        self.masked = bool((mask == 0).any())
        self.memory: Memory | None = None  # of a walk pixel by pixel, while there is one
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh weights, uniform within one over the square root of the inputs that are seen."""
        mask = cast(Tensor, self.mask)
        bound = 1 / math.sqrt(max(float(mask[-1].sum()), 1.0))
        self.weight.uniform_(-bound, bound).mul_(mask)
        self.bias.uniform_(-bound, bound)

    def seen(self) -> Tensor:
        """The weights of what may be seen, 0 elsewhere, (out, into, kernel // 2 + 1, kernel)."""
        return self.weight * cast(Tensor, self.mask) if self.masked else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H, W)."""
        if self.memory is not None:
            return self.memory.step(x)
        border = self.border
        if border:
            x = F.pad(x, (border, border, border, 0))
        return F.conv2d(x, self.seen(), self.bias)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        out, into, _, kernel = self.weight.shape
        return f"{into}, {out}, kernel={kernel}"
