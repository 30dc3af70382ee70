"""The contract of a model, for everybody who writes or wraps one: `check_model(MyModel(...))` says what is wrong."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.distributions import kl_per_dimension
from uncollapse.draw import Draw, Model, sample
from uncollapse.objective import parts_of
from uncollapse.remedies import Remedy
from uncollapse.testing.bench import Bench, Training, scramble, snapshot
from uncollapse.testing.remedy import different, expect
from uncollapse.testing.toy import Prototypes

__all__ = ["check_model"]


def check_model(model: nn.Module | Callable[[], nn.Module], x: Tensor | None = None, *, steps: int = 3) -> None:
    """Check that a model, or a wrapper round one, keeps the contract that remedies, loops and metrics rely on.

    It prints, copies and pickles; posterior, likelihood and prior have the shapes that `Model` promises, for one
    sample and for several; a pass gives finite numbers, in float32 or better also under autocast, and in float64
    where everything is; where the divergence from the prior has a closed form, sampling agrees with it; the gradient
    reaches every trainable parameter; in evaluation mode examples do not mix, nothing moves, and it works without
    gradients; `parts` covers every parameter exactly once; a state dict carries the whole model over; a training that
    was interrupted goes on with the same bits.

    A model that draws random numbers of its own in evaluation mode says so with an attribute `draws_noise = True`,
    and is then not asked whether examples mix.

    Arguments:
        model: a module with `posterior`, `likelihood` and `prior`, or a function of no argument that makes it. It is
            copied, not changed.
        x: a batch (B, *X) of at least four examples for it, whole numbers for models of text; images of `Prototypes`
            if None.
        steps: length of both halves of the training that is interrupted.

    Raises:
        AssertionError: with one sentence that names the model and what it broke.

    Example:
        >>> from uncollapse.testing import ToyModel
        >>> check_model(ToyModel())
    """
    x = Prototypes().sample(12)[0] if x is None else x
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(0)
        made = model if isinstance(model, nn.Module) else model()
        name = type(made).__name__
        if not isinstance(made, nn.Module) or not isinstance(made, Model):
            raise AssertionError(f"check_model expects a module with posterior, likelihood and prior, got a {name}")
        for check in CHECKS:
            try:
                check(Bench(Remedy, made, x, steps))
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
            except Exception as error:
                aim = str(check.__doc__).partition("\n")[0]
                raise AssertionError(f"{name}: it broke while it was checked that: {aim} {error!r}") from error


def fresh(bench: Bench, training: bool = False) -> Any:
    """An untouched copy of the model, in evaluation mode unless told otherwise."""
    return bench.fresh()[0].train(training)


def everything(one: Draw) -> dict[str, Tensor]:
    """The numbers of a pass."""
    return {"z": one.z, "log_px": one.log_px, "kl": one.kl, "log_w": one.log_w}


def values(bench: Bench, model: Any) -> dict[str, Tensor]:
    """The numbers of a pass with the same noise at every call, without gradient."""
    return {name: value.detach() for name, value in everything(bench.draw(model)).items()}


def prints(bench: Bench) -> None:
    """Its text is the same in every process."""
    text = repr(bench.model)
    expect(type(bench.model).__name__ in text, f"repr should name the class, got {text!r}")
    expect(" at 0x" not in text, f"repr should be the same in every process, but holds an address: {text!r}")
    sources = getattr(bench.model, "sources", ())
    cited = isinstance(sources, tuple) and all(isinstance(one, str) for one in sources)
    expect(cited, "sources should be a tuple of citations, each a string")


def copies(bench: Bench) -> None:
    """A pickled copy and a deep copy are the same model."""
    try:
        copy.deepcopy(bench.model)
    except Exception as error:
        raise AssertionError(f"it should deep-copy, but: {error}") from error
    model = fresh(bench)
    try:
        twin = pickle.loads(pickle.dumps(model))
    except Exception as error:
        raise AssertionError(f"it should pickle, but: {error}; keep functions at the top of a module") from error
    for name, other in {"pickled": twin, "deep": copy.deepcopy(model)}.items():
        moved = different(values(bench, model), values(bench, other))
        expect(not moved, f"its {name} copy gives another {moved} on the same batch")


def shapes(bench: Bench) -> None:
    """Posterior, prior and likelihood look as `Model` promises."""
    model, x = fresh(bench), bench.x
    p, q = model.prior(), model.posterior(x)
    expect(
        tuple(p.batch_shape) == () and len(p.event_shape) == 1,
        f"the prior should have batch () and event (D,), got {tuple(p.batch_shape)} and {tuple(p.event_shape)}",
    )
    latent = p.event_shape[0]
    expect(
        tuple(q.batch_shape) == (len(x),) and tuple(q.event_shape) == (latent,),
        f"the posterior should have batch (B,) = ({len(x)},) and event (D,) = ({latent},) as the prior has, got "
        f"{tuple(q.batch_shape)} and {tuple(q.event_shape)}; Independent(..., 1) turns the last batch dimension into "
        "an event",
    )
    named = getattr(model, "latent", latent)
    expect(named == latent, f"its attribute latent should be D = {latent}, got {named}")
    for lead in ((2, len(x)), (len(x),)):
        z = p.sample(lead)
        px = model.likelihood(z)
        expect(
            tuple(px.batch_shape) == lead and px.event_shape == x.shape[1:],
            f"the likelihood of z {tuple(z.shape)} should have batch {lead} and event {tuple(x.shape[1:])}, got "
            f"{tuple(px.batch_shape)} and {tuple(px.event_shape)}",
        )
    both = model.likelihood(torch.stack([z, z.flip(0)])).log_prob(x)
    alone = torch.stack([model.likelihood(one).log_prob(x) for one in (z, z.flip(0))])
    expect(close(both, alone), "the likelihood of z (K, B, D) should be that of its K samples (B, D), one by one")


def finite(bench: Bench) -> None:
    """A pass gives finite numbers of the right shape and type, whatever the number of samples and of examples."""
    for training in (True, False):
        for samples, x in ((1, bench.x), (3, bench.x), *(() if training else ((2, bench.x[:1]),))):
            one = bench.draw(fresh(bench, training), x, samples)
            where = f"in {'training' if training else 'evaluation'} mode, with {len(x)} example(s) and K = {samples},"
            expect(one.log_px.shape == (samples, len(x)), f"{where} log p(x|z) has shape {tuple(one.log_px.shape)}")
            for name, value in everything(one).items():
                expect(bool(value.isfinite().all()), f"{where} {name} should be finite")
                expect(
                    value.dtype == bench.kind and value.device == x.device,
                    f"{where} {name} should be {bench.kind} on {x.device} as x is, got {value.dtype} on {value.device}",
                )


def divergence(bench: Bench) -> None:
    """A closed form of the KL is the mean of log q - log p."""
    model = fresh(bench)
    with torch.no_grad():
        q, p = model.posterior(bench.x), model.prior()
        kl = kl_per_dimension(q, p)
        if kl is None:
            return
        torch.manual_seed(0)
        z = sample(q, 2000)
        ratio = (q.log_prob(z) - p.log_prob(z)).double()
    error = ratio.std(0) / len(z) ** 0.5
    off = (ratio.mean(0) - kl.sum(1)).abs()
    expect(
        bool((off < 6 * error + 1e-3).all()),
        f"the closed form of the KL differs from the mean of log q - log p of samples by {float(off.max()):.3g} nats; "
        "do sample, log_prob and the registered divergence describe the same distributions?",
    )


def gradients(bench: Bench) -> None:
    """The gradient of the bound reaches every trainable parameter, and moves both sides."""
    model = fresh(bench, training=True)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        return
    one = bench.draw(model)
    slopes = torch.autograd.grad(-one.elbo.mean(), list(weights.values()), allow_unused=True)
    found = dict(zip(weights, slopes, strict=True))
    lost = [name for name, slope in found.items() if slope is None]
    expect(
        not lost, f"no gradient reaches {', '.join(lost[:5])}; freeze what is not trained with requires_grad_(False)"
    )
    wild = [name for name, slope in found.items() if slope is not None and not bool(slope.isfinite().all())]
    expect(not wild, f"the gradient of {', '.join(wild[:5])} is not finite")
    for part, members in parts_of(model, Remedy()).items():
        own = {id(p) for p in members}
        moves = [bool(slope.ne(0).any()) for name, slope in found.items() if id(weights[name]) in own]
        expect(not moves or any(moves), f"the gradient of every parameter of the part {part!r} is exactly 0")


def permutes(bench: Bench) -> None:
    """In evaluation mode an example's numbers do not depend on the others in its batch, nor on its place."""
    model, x = fresh(bench), bench.x
    if getattr(model, "draws_noise", False):
        return
    order = torch.arange(len(x) - 1, -1, -1, device=x.device)
    with torch.no_grad():
        one = bench.draw(model)
        state = torch.get_rng_state()
        again = model.posterior(x), model.likelihood(one.z)
        expect(
            torch.equal(state, torch.get_rng_state()) and close(again[1].log_prob(x), one.log_px),
            "posterior or likelihood drew random numbers in evaluation mode; if it is meant to, set the attribute "
            "draws_noise = True",
        )
        for rows, what in ((order, "permuting the batch should permute"), (order[:3], "a smaller batch should keep")):
            z = one.z[:, rows]
            q = model.posterior(x[rows])
            other = Draw(x[rows], q, z, model.likelihood(z), one.prior)
            pairs = {
                "log q(z|x)": (one.q.log_prob(one.z)[:, rows], q.log_prob(z)),
                "log p(x|z)": (one.log_px[:, rows], other.log_px),
                "the KL": (one.kl[rows], other.kl),
            }
            for name, (ours, theirs) in pairs.items():
                expect(close(ours, theirs), f"in evaluation mode {what} {name}: examples mix")


def still(bench: Bench) -> None:
    """Looking changes nothing in evaluation mode, and gradients are not needed for it."""
    model = fresh(bench)
    before = snapshot(model)
    plain = values(bench, model)
    with torch.no_grad():
        quiet = values(bench, model)
        model.likelihood(model.prior().sample((3,)))
        expect(not torch.is_grad_enabled(), "under torch.no_grad() it switches gradients on and leaves them on")
    expect(not any(part.training for part in model.modules()), "a pass switches parts back to training mode")
    moved = different(before, snapshot(model))
    expect(not moved, f"{moved!r} moved in a pass in evaluation mode")
    told = [name for name in plain if not close(plain[name], quiet[name])]
    expect(not told, f"{', '.join(told)} differ under torch.no_grad(), in evaluation mode and with the same noise")


def precision(bench: Bench) -> None:
    """Distributions are float32 under autocast, and float64 where everything is."""
    with torch.autocast(bench.x.device.type, torch.bfloat16):
        halves = everything(bench.draw(fresh(bench)))
    for name, value in halves.items():
        expect(
            value.dtype in (torch.float32, torch.float64) and bool(value.isfinite().all()),
            f"under bfloat16 autocast {name} should be finite float32, got {value.dtype}; give distributions "
            "parameters in float32 or better",
        )
    if bench.x.device.type == "mps":
        return
    x = bench.x.double() if bench.x.is_floating_point() else bench.x
    for name, value in everything(bench.draw(fresh(bench).double(), x)).items():
        expect(value.dtype == torch.float64, f"with everything in float64 {name} should be float64, got {value.dtype}")


def belongs(bench: Bench) -> None:
    """Every parameter belongs to exactly one part, so that a part can be frozen or stepped alone."""
    model = fresh(bench)
    own = {id(p): name for name, p in model.named_parameters()}
    told = getattr(model, "parts", None)
    if not callable(told):
        return
    parts = told()
    expect({"encoder", "decoder"} <= set(parts), f"parts should name encoder and decoder, got {sorted(parts)}")
    owners: dict[int, list[str]] = {}
    for part, members in parts.items():
        for key in {id(p) for member in members if isinstance(member, nn.Module) for p in member.parameters()}:
            expect(key in own, f"part {part!r} holds a parameter that is not the model's: it is not saved with it")
            owners.setdefault(key, []).append(part)
    missed = [name for key, name in own.items() if key not in owners]
    expect(not missed, f"parts leaves out {', '.join(missed[:5])}")
    tied = shared(model)
    twice = {own[key]: owners[key] for key in own if len(owners[key]) > 1 and key not in tied}
    expect(not twice, f"parts lists {', '.join(f'{name!r} in {names}' for name, names in list(twice.items())[:3])}")


def shared(model: Any) -> set[int]:
    """Parameters that encoder and decoder of the model itself have in common (tied weights)."""
    sides = [getattr(model, name, None) for name in ("encoder", "decoder")]
    first, second = ({id(p) for p in side.parameters()} if isinstance(side, nn.Module) else set() for side in sides)
    return first & second


def carries(bench: Bench) -> None:
    """A state dict brings a differently initialised copy to the same numbers."""
    model, other = fresh(bench), fresh(bench)
    for name, value in model.state_dict().items():
        expect(
            isinstance(value, Tensor),
            f"state {name!r} should be a tensor, because checkpoints hold tensors only, got {type(value).__name__}",
        )
    scramble(other)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    moved = different(values(bench, model), values(bench, other))
    expect(not moved, f"{moved} differs after loading the state dict into a differently initialised copy")


def resumes(bench: Bench) -> None:
    """Train, save, load into a differently initialised copy, go on: the same bits as without the break."""
    straight = Training(fresh(bench, True), Remedy(), bench.x)
    if not any(straight.parts.values()):
        return
    straight.run(0, bench.steps)
    file = io.BytesIO()
    torch.save(straight.state(), file)
    straight.run(bench.steps, 2 * bench.steps)
    model = fresh(bench, True)
    scramble(model)
    resumed = Training(model, Remedy(), bench.x)
    resumed.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    resumed.run(bench.steps, 2 * bench.steps)
    moved = different(snapshot(straight.model), snapshot(resumed.model))
    expect(
        not moved,
        f"{moved!r} differs after saving and loading into a differently initialised copy; "
        "keep every state in parameters or buffers",
    )


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree but for the order of sums."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-3)


CHECKS: tuple[Callable[[Bench], None], ...] = (
    prints, shapes, copies, finite, still, divergence, gradients, permutes, precision, belongs, carries, resumes,
)  # fmt: skip
