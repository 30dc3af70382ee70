"""Inference that starts with the encoder's guess and improves it by gradient steps, for every example by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, kl_divergence

from uncollapse.distributions import diagonal, gaussian
from uncollapse.draw import Draw
from uncollapse.errors import BadInput
from uncollapse.wrappers.base import Wrapper
from uncollapse.wrappers.vamp import unmoved

__all__ = ["SemiAmortised"]

Gradient = Literal["exact", "finite", "own", "kl"]


class SemiAmortised(Wrapper):
    r"""The posterior is the encoder's, refined by gradient ascent on the evidence lower bound.

    $\lambda_0 = \mathrm{enc}(x)$; $v_k = m\,v_{k-1} + \mathrm{clip}\big(\nabla_\lambda \mathrm{ELBO}(\lambda_{k-1};
    x)\big)$, $\lambda_k = \lambda_{k-1} + \eta\,v_k$ for k = 1..N, with fresh noise at every step; $\lambda$ is the
    pair (mean, log-variance), $q(z|x) = \mathcal N(\lambda_N)$. It is refined in evaluation too.

    Everything is per example: the bound is not averaged over the batch, and clipping shortens the gradients of the
    mean and of the log-variance of one example each, so that examples do not mix. The released code averages over B
    = 50 and clips the batch as a whole; its rate 1 and its bound 5 are 1 / 50 and $5\sqrt{50}$ here, the defaults.
    It draws noise, from torch's global generator. Its bound knows nothing of remedies: under a weight on the KL, give
    the same `kl_weight`. Floors that a wrapper inside puts on the KL can be undone by the refinement.

    How the encoder learns is said by `gradient`:

    - "exact": the gradient of the loss at $\lambda_N$ passes back through all steps, second order included.
    - "finite": the same by finite differences of gradients, as in the paper, for decoders that cannot be
      differentiated twice (recurrent ones on CUDA).
    - "own": no passing back; the encoder follows the gradient of its own bound at $\lambda_0$ (VAE + SVI).
    - "kl": no passing back; the encoder follows that of $\mathrm{KL}(q_{\lambda_0}\|q_{\lambda_N})$.

    In the last two the encoder's gradient is that of a mean over the batch, whatever the loss: average yours too.
    Remedies reach the decoder then, not the encoder.

    Arguments:
        model: a model with diagonal Gaussian posteriors.
        steps: N.
        lr: eta, per nat of one example's bound.
        momentum: m, in [0, 1).
        clip: the longest gradient of one example, or None.
        gradient: as above.
        samples: of z per step.
        kl_weight: weight of the KL in the bound that is climbed.
        eps: for "finite": how far away gradients are compared, each way, as the largest move of an example in lambda.
            At the paper's 1e-5 rounding leaves two to three digits in float32, at 1e-2 five to six.

    Raises:
        BadInput: when an argument is out of range.
        Unsupported: when the posterior is not a diagonal Gaussian.

    References:
        Kim, Wiseman, Miller, Sontag, Rush, 2018, https://arxiv.org/abs/1802.02550, algorithms 1 and 2;
        Krishnan, Liang, Hoffman, 2018, https://arxiv.org/abs/1710.06085 (the encoder on its own bound).

    Example:
        >>> from uncollapse import VAE, draw
        >>> model = SemiAmortised(VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4), steps=3)
        >>> draw(model, torch.rand(5, 16)).elbo.shape
        torch.Size([5])
    """

    sources = (
        "Kim, Wiseman, Miller, Sontag, Rush, 2018, Semi-Amortized Variational Autoencoders, "
        "https://arxiv.org/abs/1802.02550",
    )
    draws_noise = True  #: in every pass, in evaluation too

    def __init__(
        self,
        model: Any,
        steps: int = 20,
        lr: float = 0.02,
        momentum: float = 0.5,
        clip: float | None = 35.0,
        gradient: Gradient = "exact",
        samples: int = 1,
        kl_weight: float = 1.0,
        eps: float = 1e-2,
    ) -> None:
        super().__init__(model)
        for name, value in (("steps", steps), ("samples", samples)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{name} should be a positive whole number, got {value!r}")
        for name, size in (("lr", lr), ("clip", 1.0 if clip is None else clip), ("eps", eps)):
            if not size > 0:
                raise BadInput(f"{name} should be a positive number, got {size!r}")
        if not 0 <= momentum < 1 or not kl_weight >= 0:
            raise BadInput(f"momentum should be in [0, 1) and kl_weight at least 0, got {momentum!r} and {kl_weight!r}")
        if gradient not in get_args(Gradient):
            raise BadInput(f"gradient should be one of {', '.join(get_args(Gradient))}, got {gradient!r}")
        self.steps, self.lr, self.momentum, self.clip = steps, lr, momentum, clip
        self.gradient, self.samples, self.kl_weight, self.eps = gradient, samples, kl_weight, eps

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) after all steps: x (B, *X) gives batch (B,), event (D,)."""
        mean, scale = diagonal(self.model.posterior(x), "SemiAmortised")
        start = torch.stack([mean, 2 * scale.log()])
        learns = torch.is_grad_enabled()
        through = learns and self.gradient in ("exact", "finite")
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone() if x.is_inference() else x
            end, first = self.refined(x, start if through else start.detach().clone(), through)
            if learns and not through:
                pull = -first if self.gradient == "own" else approach(start.detach(), end)
                end = Steered.apply(start, end, pull)  # type: ignore[no-untyped-call]
        return gaussian(tuple(end))

    def refined(self, x: Tensor, start: Tensor, through: bool) -> tuple[Tensor, Tensor]:
        """lambda_N from lambda_0, and the gradient there, (2, B, D); with a graph to it and to the decoder, or none."""
        first = self.slope(x, start, through)
        speed = clipped(first, self.clip)
        point = start + self.lr * speed
        for _ in range(self.steps - 1):
            speed = self.momentum * speed + clipped(self.slope(x, point, through), self.clip)
            point = point + self.lr * speed
        return point, first

    def slope(self, x: Tensor, point: Tensor, through: bool) -> Tensor:
        """Gradient of every example's bound at its point, (2, B, D)."""
        noise = torch.randn(self.samples, *point.shape[1:], dtype=point.dtype, device=point.device)
        if through and self.gradient == "finite":
            weights = [p for p in self.model.parameters() if p.requires_grad]
            bound = partial(self.bound, x, noise)
            return cast(Tensor, Finite.apply(bound, self.eps, point, *weights))  # type: ignore[no-untyped-call]
        point = point if point.requires_grad else point.detach().requires_grad_()
        return torch.autograd.grad(self.bound(x, noise, point).sum(), point, create_graph=through)[0]

    def bound(self, x: Tensor, noise: Tensor, point: Tensor) -> Tensor:
        """Evidence lower bound with given noise (K, B, D) at a point (2, B, D), (B,) nats."""
        q = gaussian(tuple(point))
        z = point[0] + (0.5 * point[1]).exp() * noise
        with unmoved(self.model):
            one = Draw(x, q, z, self.model.likelihood(z), self.model.prior())
        return one.log_px.mean(0) - self.kl_weight * one.kl.sum(1)

    def extra_repr(self) -> str:
        """Shown by `print`."""
        names = ("steps", "lr", "momentum", "clip", "gradient", "samples", "kl_weight", "eps")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def clipped(slope: Tensor, longest: float | None) -> Tensor:
    """Gradients (2, B, D), each example's two rows no longer than `longest`."""
    if longest is None:
        return slope
    # The square root has no gradient at 0, where nothing is cut anyway.
    length = slope.square().sum(2, keepdim=True).clamp(min=longest**2).sqrt()
    return slope * (longest / length)


def approach(start: Tensor, end: Tensor) -> Tensor:
    """Gradient at the guess of the divergence of the guess from the refined posterior, (2, B, D)."""
    at = start.requires_grad_()
    return torch.autograd.grad(kl_divergence(gaussian(tuple(at)), gaussian(tuple(end))).sum(), at)[0]


class Finite(torch.autograd.Function):
    """The gradient of a bound as a function of the point and the weights; its own gradient by central differences."""

    @staticmethod
    def forward(ctx: Any, bound: Callable[[Tensor], Tensor], eps: float, point: Tensor, *weights: Tensor) -> Tensor:
        """Gradient at the point, (2, B, D)."""
        ctx.bound, ctx.eps, ctx.noise = bound, eps, noise_state(point.device)
        ctx.save_for_backward(point, *weights)
        with torch.enable_grad():
            at = point.detach().requires_grad_()
            return torch.autograd.grad(bound(at).sum(), at)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        """Hessian times vector: the change of the gradients along the vector."""
        point, *weights = ctx.saved_tensors
        # One length for all examples: where normalisation mixes them, steps of their own would not add up.
        length = slope.square().sum((0, 2)).amax().sqrt()
        away = ctx.eps * slope / length.clamp(min=torch.finfo(slope.dtype).tiny)
        with torch.enable_grad():
            at = point.detach().requires_grad_()
            sides = []
            for shift in (away, -away):
                with replayed(ctx.noise, point.device):
                    sides.append(ctx.bound(at + shift))
            change = (sides[0] - sides[1]).sum() * (length / (2 * ctx.eps))
            found = torch.autograd.grad(change, [at, *weights], allow_unused=True)
        return None, None, *found


def noise_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where the random streams of the CPU and of this device stand."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def replayed(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw from earlier states once more, so that dropout leaves out the same units; then go on as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield


class Steered(torch.autograd.Function):
    """The refined point going forward; going back, a gradient of the encoder's own, averaged over the batch."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, end: Tensor, pull: Tensor) -> Tensor:
        """lambda_N, (2, B, D)."""
        ctx.save_for_backward(pull)
        return end.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        """What the loss says is dropped."""
        (pull,) = ctx.saved_tensors
        return pull / pull.shape[1], None, None
