"""Log ratios of samples to all posteriors on an accelerator: plain float64 products, which have room there."""

from collections.abc import Callable

import torch
from torch import Tensor

from uncollapse.errors import BadInput
from uncollapse.functional import gaussian_columns

__all__ = ["accelerator", "log_ratios_on"]

ROWS, COLUMNS = 4096, 16384  #: of one block: 512 MiB of log densities in float64


def accelerator(device: str | torch.device | None) -> torch.device | None:
    """The device that blocks are computed on; None for the processor's own way.

    Raises:
        BadInput: for a device that is not there, or has no float64.
    """
    if device is None:
        return None
    if device == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else None
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise BadInput(
            f'device should be None, "auto" or a device with float64 such as "cuda", got {device!r} ({error})'
        ) from error
    return torch.device(device)


def log_ratios_on(
    device: torch.device,
    mean: Tensor,
    scale: Tensor,
    z: Tensor,
    own: Tensor,
    chunk: int | None = None,
    release: Callable[[], None] = lambda: None,
) -> Tensor:
    r"""$\log q(z_r|x_{i(r)}) - \log\sum_j q(z_r|x_j)$, (R,) nats, at most 0, from blocks in float64 on a device.

    Both terms take the own density from the same product, so that its rounding cancels.

    Arguments:
        device: where.
        mean, scale: (N, D), of all posteriors; they are read in blocks.
        z: (R, D) in float64, samples.
        own: (R,), which posterior each was drawn from: i(r).
        chunk: samples at once, 4,096 if None.
        release: called after every block of posteriors, to hand pages of a file back.
    """
    shift = mean[:COLUMNS].double().mean(0).to(device)
    parts = []
    for rows in torch.split(torch.arange(len(z)), chunk or ROWS):
        at, mine = z[rows].to(device), own[rows].to(device)
        total = torch.full((len(rows),), -torch.inf, dtype=torch.float64, device=device)
        self_density = torch.zeros_like(total)
        for start in range(0, len(mean), COLUMNS):
            block = slice(start, start + COLUMNS)
            logs = gaussian_columns(mean[block].to(device), scale[block].to(device), shift).log_prob(at)
            here = ((mine >= start) & (mine < start + logs.shape[1])).nonzero().squeeze(1)
            self_density[here] = logs[here, mine[here] - start]
            total = torch.logaddexp(total, logs.logsumexp(1))
            release()
        parts.append((self_density - total).cpu())
    return torch.cat(parts).clamp_(-700.0, 0)
