"""The contract of a remedy, for everybody who writes one: `check_remedy(MyRemedy(...))` says what is wrong."""

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uncollapse.draw import Draw
from uncollapse.errors import UncollapseError
from uncollapse.remedies import Remedy
from uncollapse.schedules import Constant
from uncollapse.testing.bench import Bench, Training, alike, scramble, snapshot
from uncollapse.testing.toy import Prototypes, ToyModel

__all__ = ["check_remedy"]


def check_remedy(
    remedy: Remedy | Callable[[], Remedy], model: Any = None, x: Tensor | None = None, *, steps: int = 3
) -> None:
    """Check that a remedy keeps the contract that loops, checkpoints and tables rely on.

    It prints, copies and pickles; owns its parameters; gives finite (B,) terms and a rate of the KL's shape, in
    float32 or better also under autocast; its gradient reaches the encoder; weight 0 equals absence; permuting
    the batch permutes the result; nothing moves except in `before_step` and `after_step`; a run that was
    saved and loaded into a differently initialised copy goes on with the same bits.

    Arguments:
        remedy: the remedy, or a function of no argument that makes it.
        model: a module with `posterior`, `likelihood` and `prior`; a `ToyModel` if None. It is copied, not changed.
        x: a batch (B, *X) of at least four examples for it; images of `Prototypes` if None.
        steps: length of both halves of the training that is interrupted.

    Raises:
        AssertionError: with one sentence that names the remedy and what it broke.

    Example:
        >>> from uncollapse.remedies import SelfCritic
        >>> check_remedy(SelfCritic(weight=20.0))
    """
    x = Prototypes().sample(12)[0] if x is None else x
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(0)
        model = ToyModel() if model is None else model
        bench = Bench(maker(remedy), model, x, steps)
        for check in CHECKS:
            try:
                check(bench)
            except AssertionError as error:
                raise AssertionError(f"{type(bench.make()).__name__}: {error}") from error


def maker(remedy: Remedy | Callable[[], Remedy]) -> Callable[[], Remedy]:
    """A function that makes fresh remedies."""
    if isinstance(remedy, Remedy):
        return lambda: copied(remedy)
    made = remedy()
    if not isinstance(made, Remedy):
        raise AssertionError(f"check_remedy expects a Remedy or a function that makes one, got {type(made).__name__}")
    return remedy


def copied(remedy: Remedy) -> Remedy:
    """A deep copy."""
    try:
        return copy.deepcopy(remedy)
    except Exception as error:
        raise AssertionError(f"{type(remedy).__name__}: it should deep-copy, but: {error}") from error


def expect(condition: bool, sentence: str) -> None:
    """Raise an AssertionError with the sentence unless the condition holds; `python -O` does not remove it."""
    if not condition:
        raise AssertionError(sentence)


def prints(bench: Bench) -> None:
    """Its text is its description in logs and in the name of a run's folder."""
    remedy = bench.make()
    text = repr(remedy)
    expect(type(remedy).__name__ in text, f"repr should name the class, got {text!r}")
    expect(" at 0x" not in text, f"repr should be the same in every process, but holds an address: {text!r}")
    same = all(isinstance(one, str) for one in remedy.sources) and isinstance(remedy.sources, tuple)
    expect(same, "sources should be a tuple of citations, each a string")


def pickles(bench: Bench) -> None:
    """A pickled copy and a deep copy are the same remedy."""
    model, remedy = bench.fresh()
    remedy.eval()
    one = bench.draw(model)
    try:
        twin = pickle.loads(pickle.dumps(remedy))
    except Exception as error:
        raise AssertionError(f"it should pickle, but: {error}; keep functions at the top of a module") from error
    for name, other in {"pickled": twin, "deep": copied(remedy)}.items():
        expect(alike(dict(remedy.state_dict()), dict(other.state_dict())), f"its {name} copy has another state")
        equal = alike(bench.term(remedy, one, model).detach(), bench.term(other, one, model).detach())
        expect(equal, f"its {name} copy gives another term on the same batch")


def owns(bench: Bench) -> None:
    """Its state is its own, and made of tensors."""
    model, remedy = bench.fresh()
    theirs = {id(p) for p in bench.model.parameters()} | {id(p) for p in model.parameters()}
    for name, parameter in remedy.named_parameters():
        expect(
            id(parameter) not in theirs,
            f"parameter {name!r} belongs to the model as well; look shared parts up in the model instead of "
            "registering them",
        )
    for name, value in remedy.state_dict().items():
        expect(
            isinstance(value, Tensor),
            f"state {name!r} should be a tensor, because checkpoints hold tensors only, got {type(value).__name__}",
        )


def terms(bench: Bench) -> None:
    """Per example, finite, in nats, for one sample and for several."""
    model, remedy = bench.fresh()
    for samples in (1, 2):
        one = bench.draw(model, samples=samples)
        term = bench.term(remedy, one, model)
        expect(
            isinstance(term, Tensor) and term.shape == (len(bench.x),),
            f"term should be (B,) = ({len(bench.x)},) with {samples} sample(s) of z, got {shape(term)}; "
            "leave averaging to the loop",
        )
        expect(bool(term.isfinite().all()), f"term should be finite, got {term.detach().tolist()}")
        expect(term.device == bench.x.device, f"term should stay on {bench.x.device}, got {term.device}")
        expect(term.dtype == bench.x.dtype, f"term should keep the type {bench.x.dtype} of x, got {term.dtype}")


def rates(bench: Bench) -> None:
    """The reshaped KL keeps shape, type and device."""
    remedy = bench.fresh()[1]
    for width in (3, 1):
        kl = torch.rand(5, width, device=bench.x.device, dtype=bench.x.dtype)
        rate = remedy.rate(kl)
        expect(
            isinstance(rate, Tensor) and rate.shape == kl.shape,
            f"rate should keep the shape (B, D) = (5, {width}), got {shape(rate)}; spread a total over the latents",
        )
        expect(bool(rate.isfinite().all()), "rate should be finite")
        expect(rate.dtype == kl.dtype and rate.device == kl.device, "rate should keep type and device of the KL")


def gradients(bench: Bench) -> None:
    """The gradient reaches the encoder, or the remedy says that it does not."""
    model, remedy = bench.fresh()
    remedy.step = max(remedy.step, remedy.arrives)
    if type(remedy).rate is not Remedy.rate:
        kl = torch.full((5, 3), 50.0, device=bench.x.device, dtype=bench.x.dtype).requires_grad_()
        rate = remedy.rate(kl).sum()
        slope = torch.autograd.grad(rate, kl, allow_unused=True)[0] if rate.requires_grad else None
        expect(slope is not None and bool(slope.isfinite().all()), "rate should have a finite gradient")
    if not (remedy.has_term and remedy.reaches_encoder):
        return
    one = bench.draw(model)
    weights = [p for p in model.parameters() if p.requires_grad]
    code = torch.autograd.grad(one.z.sum() + one.kl.sum(), weights, allow_unused=True, retain_graph=True)
    encoder = [p for p, slope in zip(weights, code, strict=True) if slope is not None]
    term = bench.term(remedy, one, model).sum()
    slopes = torch.autograd.grad(term, encoder, allow_unused=True) if term.requires_grad else [None]
    expect(
        any(slope is not None and bool(slope.ne(0).any()) for slope in slopes),
        "the gradient of term should reach the encoder; if it is not meant to, set the class attribute "
        "reaches_encoder = False",
    )


def absence(bench: Bench) -> None:
    """At weight 0 the term and its gradient are exactly 0."""
    model, remedy = bench.fresh()
    if not remedy.has_term:
        return
    remedy.weight = Constant(0.0)
    out = remedy(bench.draw(model), model)
    expect(bool((out == 0).all()), "at weight 0 the term should be exactly 0, as if the remedy were absent")
    weights = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(out.sum(), weights, allow_unused=True) if out.requires_grad else []
    expect(
        all(slope is None or bool((slope == 0).all()) for slope in slopes),
        "at weight 0 the gradient should be exactly 0, as if the remedy were absent",
    )


def permutes(bench: Bench) -> None:
    """The place in the batch does not matter, and undeclared noise is not drawn."""
    model, remedy = bench.fresh()
    order = torch.arange(len(bench.x) - 1, -1, -1, device=bench.x.device)
    kl = torch.rand(len(order), 3, device=bench.x.device, dtype=bench.x.dtype)
    close = torch.allclose(remedy.rate(kl)[order], remedy.rate(kl[order]), rtol=1e-4, atol=1e-5)
    expect(close, "permuting the batch should permute the rate")
    if remedy.draws_noise:
        return
    model.eval(), remedy.eval()
    one = bench.draw(model)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    term = remedy.term(one, model).detach()
    expect(
        torch.equal(before, torch.get_rng_state()),
        "term drew random numbers; if it is meant to, set the class attribute draws_noise = True",
    )
    z = one.z[:, order]
    turned = Draw(one.x[order], model.posterior(one.x[order]), z, model.likelihood(z), one.prior)
    again = bench.term(remedy, turned, model).detach()
    expect(
        torch.allclose(term[order], again, rtol=1e-3, atol=1e-4),
        "permuting the batch should permute the term: the loss of an example must not depend on its place",
    )


def precision(bench: Bench) -> None:
    """Terms are float32 under autocast, and float64 where everything is."""
    model, remedy = bench.fresh()
    with torch.autocast(bench.x.device.type, torch.bfloat16):
        term = bench.term(remedy, bench.draw(model), model)
    expect(
        term.dtype in (torch.float32, torch.float64) and bool(term.isfinite().all()),
        f"under bfloat16 autocast the term should be finite float32, got {term.dtype}; do the sums outside autocast",
    )
    if bench.x.device.type == "mps":
        return
    model, remedy, x = model.double(), remedy.double(), bench.x.double()
    term = bench.term(remedy, bench.draw(model, x), model)
    expect(term.dtype == torch.float64, f"with everything in float64 the term should be float64, got {term.dtype}")


def still(bench: Bench) -> None:
    """Looking changes nothing: state moves in before_step and after_step only."""
    for mode in (False, True):
        model, remedy = bench.fresh()
        model.train(mode), remedy.train(mode)
        one = bench.draw(model)
        before, theirs = snapshot(remedy, not mode), snapshot(model, not mode)
        bench.term(remedy, one, model)
        remedy(one, model), remedy.rate(one.kl), remedy.ceiling(len(bench.x))
        moved = different(before, snapshot(remedy, not mode)) or different(theirs, snapshot(model, not mode))
        where = "training" if mode else "evaluation"
        expect(not moved, f"{moved!r} moved in a forward pass in {where} mode; move state in after_step only")


def counts(bench: Bench) -> None:
    """after_step counts."""
    model, remedy = bench.fresh()
    start = remedy.step
    with torch.no_grad():
        remedy.after_step(model)
    expect(remedy.step == start + 1, "after_step should count one step; call super().after_step(model)")


def resumes(bench: Bench) -> None:
    """Save, load into a differently initialised copy, go on: the same bits as without the break."""
    straight = Training(*bench.fresh(), bench.x)
    straight.run(0, bench.steps)
    file = io.BytesIO()
    torch.save(straight.state(), file)
    straight.run(bench.steps, 2 * bench.steps)
    model, remedy = bench.fresh()
    scramble(model), scramble(remedy)
    remedy.step += 5
    resumed = Training(model, remedy, bench.x)
    resumed.restore(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    resumed.run(bench.steps, 2 * bench.steps)
    ours, theirs = ({**snapshot(run.model), **snapshot(run.objective)} for run in (straight, resumed))
    moved = different(ours, theirs)
    expect(
        not moved,
        f"{moved!r} differs after saving and loading into a differently initialised copy; "
        "keep every state in parameters, buffers or get_extra_state",
    )


def bounds(bench: Bench) -> None:
    """The ceiling is a number of nats or None; a batch of one is handled or refused in words."""
    model, remedy = bench.fresh()
    ceiling = remedy.ceiling(len(bench.x))
    fits = ceiling is None or (isinstance(ceiling, float) and 0 <= ceiling < math.inf)
    expect(fits, f"ceiling should be a finite number of nats or None, got {ceiling!r}")
    try:
        term = bench.term(remedy, bench.draw(model, bench.x[:1]), model)
    except UncollapseError:
        return
    except Exception as error:
        raise AssertionError(f"a batch of one should work or raise an UncollapseError, got {error!r}") from error
    expect(term.shape == (1,) and bool(term.isfinite().all()), "with a batch of one the term should be finite, (1,)")


def different(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """The first name whose values differ."""
    return next((name for name in [*a, *b] if name not in a or name not in b or not alike(a[name], b[name])), None)


def shape(thing: Any) -> str:
    """The shape of a tensor, or the type of anything else."""
    return str(tuple(thing.shape)) if isinstance(thing, Tensor) else type(thing).__name__


CHECKS: tuple[Callable[[Bench], None], ...] = (
    prints, terms, rates, still, pickles, owns, gradients, absence, permutes, precision, counts, resumes, bounds,
)  # fmt: skip
