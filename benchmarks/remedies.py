"""What every remedy adds to a training step: measured time and FLOPs over the plain step; queues and memories are full.

Models: an MLP VAE, 784-512-512 with 32 latents (decoder mirrored), and the five-layer convolutional one, fp32,
Bernoulli likelihood, fused Adam, random images of MNIST's size. A party is a few whole steps: `before_step`, prepare,
draw, terms, backward, optimiser, `after_step`. FLOPs are counted by torch over the same step. Times are medians over
interleaved rounds; `floor` is the FLOPs over the rate of a matrix product of 1,024 x 1,024 in fp32, in seconds.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.distributions import Independent, Normal
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import gemm_rate, interleaved, ratio
from uncollapse import VAE, Objective, remedies, wrappers
from uncollapse.functional import info_nce
from uncollapse.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from uncollapse.objective import parts_of
from uncollapse.remedies.bank import Bank
from uncollapse.remedies.momentum import AS_PUBLISHED

SHAPE, HIDDEN, LATENT = (1, 28, 28), 512, 32
NETWORKS = {"MLP": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}


class BroadcastCritic(remedies.Remedy):
    """The self critic as one would first write it: a B x B x D tensor of log densities."""

    def term(self, draw, model):
        q = draw.q.base_dist
        rows = Independent(Normal(q.loc[None], q.scale[None]), 1)
        return info_nce(rows.log_prob(draw.z[0][:, None]))


class Inner10(remedies.Aggressive):
    """Exactly ten inner steps at every step: a price a step, whatever the loss does."""

    def __init__(self, gradients):
        super().__init__(most=10, window=10, gradients=gradients)


class Steps:
    """A training loop of one's own, with what an inner loop may ask of it."""

    def __init__(self, model, objective, x):
        self.model, self.objective, self.x, self.epoch = model, objective, x, 0.0
        self.members = parts_of(model, objective)
        self.all = [p for members in self.members.values() for p in members]
        self.optimiser = torch.optim.Adam(self.all, 1e-3, fused=True)

    def batch(self):
        return self.x

    def validation(self):
        yield self.x

    def loss(self, x):
        return torch.stack([term.mean() for term in self.objective.of(self.model, x).values()]).sum()

    def step(self, loss, *parts):
        self.optimiser.zero_grad(set_to_none=True)
        loss.mean().backward()
        for name, members in self.members.items():
            if name not in parts:
                for parameter in members:
                    parameter.grad = None
        self.optimiser.step()

    @contextmanager
    def only(self, *parts):
        others = [p for name, members in self.members.items() if name not in parts for p in members]
        for parameter in others:
            parameter.requires_grad_(False)
        yield
        for parameter in others:
            parameter.requires_grad_(True)

    def __call__(self, steps=1):
        for _ in range(steps):
            moving = set(self.members) - self.objective.before_step(self)
            with self.only(*moving) if self.sparing else nullcontext():
                self.step(self.loss(self.x), *moving)
            self.objective.after_step(self.model)

    @property
    def sparing(self):
        """Whether parts that stay get no gradient, as in `fit` without a clip; the published loop computes all."""
        return any(getattr(remedy, "gradients", "all") == "encoder" for remedy in self.objective.remedies)


def networks(kind):
    torch.manual_seed(0)
    encoder, decoder = NETWORKS[kind]
    return VAE(encoder(SHAPE, LATENT), decoder(SHAPE, LATENT), LATENT)


def features(model):
    with torch.no_grad():
        return model.encoder.trunk(torch.zeros(2, *SHAPE)).flatten(1).shape[1]


def momentum(model, **options):
    return remedies.MomentumContrast(model.encoder, LATENT, weight=1.0, **options)


def remembering(size):
    return remedies.SelfCritic(1.0, memory=size, latent=LATENT)


#: name -> remedies for a model; the first is what the others are held against
REMEDIES = {
    "plain": lambda model: [],
    "free bits": lambda model: [remedies.FreeBits(0.25)],
    "target rate": lambda model: [remedies.TargetRate(5.0)],
    "self critic": lambda model: [remedies.SelfCritic(1.0)],
    "self critic, memory 1,024": lambda model: [remembering(1024)],
    "self critic, queue of 16,384": lambda model: [remembering(16384)],
    "neural critic": lambda model: [remedies.NeuralCritic(SHAPE, LATENT)],
    "hybrid critic": lambda model: [remedies.HybridCritic(features(model), LATENT)],
    "momentum contrast": lambda model: [momentum(model)],
    "momentum contrast, as published": lambda model: [momentum(model, **AS_PUBLISHED)],
    "latent reconstruction, B/4": lambda model: [remedies.LatentReconstruction(1.0)],
    "latent reconstruction, B": lambda model: [remedies.LatentReconstruction(1.0, share=1.0)],
    "MMD": lambda model: [remedies.MMD()],
    "MINE, shuffled pairs": lambda model: [remedies.MINE(SHAPE, LATENT)],
    "MINE, all pairs": lambda model: [remedies.MINE(SHAPE, LATENT, pairs="all")],
    "MAE": lambda model: [remedies.MAE()],
    "aggressive, 10 inner steps": lambda model: [Inner10("all")],
    "aggressive, 10 cheap inner steps": lambda model: [Inner10("encoder")],
}
WRAPPERS = {
    "batch-normalised mean": lambda model: wrappers.BatchNormMean(model),
    "minimum rate": lambda model: wrappers.MinimumRate(model),
    "von Mises-Fisher": lambda model: wrappers.VonMisesFisher(model),
    "VampPrior, 100": lambda model: wrappers.VampPrior(model, SHAPE, pseudo_inputs=100),
    "semi-amortised, 10 steps": lambda model: wrappers.SemiAmortised(model, steps=10),
}
#: for the MLP by name and batch size, in plain steps; of all else, SLACK times the FLOPs
GOALS = {
    ("self critic", 1024): "<= 1.15",
    ("self critic, queue of 16,384", 1024): "<= 1.5",
    ("self critic, memory 1,024", 256): "<= 1.5",
    ("neural critic", 256): "<= 1.85",
    ("hybrid critic", 256): "<= 1.5",
    ("momentum contrast", 256): "<= 1.75",
    ("latent reconstruction, B/4", 256): "<= 1.35",
}
SLACK = 1.1
DEAR = ("MINE, all pairs", "semi-amortised, 10 steps", "aggressive")


def party(kind, name, batch):
    """A call that makes training steps with one remedy."""
    model = networks(kind)
    if name in WRAPPERS:
        model = WRAPPERS[name](model)
        chosen = []
    else:
        chosen = REMEDIES[name](model)
    x = (torch.rand(batch, *SHAPE, generator=torch.Generator().manual_seed(0)) < 0.13).float()
    objective = Objective(chosen)
    return Steps(model.train(), objective.train(), x)


def full(steps):
    """The party, after a step, with what that step left behind wherever a queue or memory has room."""
    steps()
    for bank in (part for part in steps.objective.modules() if isinstance(part, Bank)):
        while bank.written < bank.size:
            bank.put(bank.filled[: bank.size - bank.written].clone())
    return steps


def flops(steps):
    """Floating point operations of one step; those in float64, which take twice as long on a processor, count once."""
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}  # torch counts the others itself
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        steps()
    return counter.get_total_flops()


def run(quick=False):
    """The MLP at every size, and the broadcast; `remedies_conv` has the convolutional networks, which take minutes."""
    return alone(lambda: sized("MLP", (64, 256, 1024), quick) | broadcast(quick))


def alone(work):
    """The work's result, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(threads)


def sized(kind, batches, quick):
    """All remedies at some batch sizes."""
    figures = {}
    for batch in batches:
        figures |= measure(kind, batch, quick)
    return figures


def measure(kind, batch, quick):
    """All remedies at one size; the dear ones at B <= 256, and fewer rounds of them."""
    figures = {}
    for names, rounds in groups(kind, batch, quick):
        parties = {name: full(party(kind, name, batch)) for name in names}
        operations = {name: flops(one) for name, one in parties.items()}
        times, rate = interleaved(parties, rounds), gemm_rate()
        for name in names[1:]:
            bound = operations[name] / operations["plain"]
            goal = GOALS.get((name, batch)) if kind == "MLP" else None
            one = ratio(times, name, "plain", goal or f"<= {SLACK} x FLOPs ({SLACK * bound:.2f})")
            floor = {"flops": round(bound, 3), "floor": round(operations[name] / rate, 5)}
            figures[f"{name}, {kind}, B = {batch}"] = one | floor
    figures |= cheap(figures, kind, batch)
    return figures


def cheap(figures, kind, batch):
    """The cheap inner loop over the published one."""
    names = [f"aggressive, 10 {word}inner steps, {kind}, B = {batch}" for word in ("cheap ", "")]
    if not all(name in figures for name in names):
        return {}
    one, two = (figures[name] for name in names)
    shares = {key: round(one[key] / two[key], 3) for key in ("ratio", "flops")}
    spread = {"min": round(one["min"] / two["max"], 3), "max": round(one["max"] / two["min"], 3)}
    return {f"cheap inner loop over the published one, {kind}, B = {batch}": {**shares, **spread, "goal": "<= 0.82"}}


ROUNDS = {"MLP": {64: 21, 256: 15, 1024: 9}, "conv": {64: 3, 256: 3, 1024: 2}}


def groups(kind, batch, quick):
    small = ["self critic, queue of 16,384"] if batch == 64 else []  # smaller batches have shorter queues
    names = [name for name in [*REMEDIES, *WRAPPERS][1:] if name not in small]
    dear = [name for name in names if name.startswith(DEAR)]
    yield ["plain", *(name for name in names if name not in dear)], 3 if quick else ROUNDS[kind][batch]
    if kind == "MLP" and batch <= 256:
        yield ["plain", *dear], 2 if quick else {"MLP": 7, "conv": 3}[kind]


QUEUES = (0, 1024, 2048, 4096, 8192, 16384)


def curves(quick=False):
    """The self critic by the length of its queue, B = 1,024, in plain steps, and what its FLOPs come to."""
    return alone(lambda: lengths(QUEUES[:3] if quick else QUEUES, 1024, 1 if quick else 5))


def lengths(queues, batch, rounds):
    """The time of a step for each length of the queue, over that of a plain step beside it."""
    REMEDIES.update({f"queue {size}": lambda model, size=size: [remembering(size)] for size in queues if size})
    names = ["plain", *(f"queue {size}" if size else "self critic" for size in queues)]
    parties = {name: full(party("MLP", name, batch)) for name in names}
    bounds = [flops(parties[name]) / flops(parties["plain"]) for name in names[1:]]
    times = interleaved(parties, rounds)
    measured = [ratio(times, name, "plain", "")["ratio"] for name in names[1:]]
    curve = {
        "x": list(queues),
        "xlabel": "posteriors in the queue",
        "plain steps": {"measured": measured, "FLOPs": bounds},
    }
    return {f"self critic, MLP, B = {batch}": curve}


def broadcast(quick):
    """The self critic as a broadcast, for comparison."""
    model = networks("MLP")
    x = torch.rand(1024, *SHAPE).round()
    pair = {
        "plain": Steps(model, Objective(), x),
        "broadcast": Steps(networks("MLP"), Objective([BroadcastCritic()]), x),
    }
    times = interleaved(pair, 1 if quick else 3)
    return {"self critic as a B x B x D broadcast, MLP, B = 1024": ratio(times, "broadcast", "plain", "none")}
