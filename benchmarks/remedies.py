"""What a critic adds to a training step, and what it would add if the densities were broadcast.

The model is an MLP VAE, 784-512-512 with 32 latents (decoder mirrored), fp32, Bernoulli likelihood, fused Adam, on
random images of MNIST's size. A party is a few whole steps: draw, terms, backward, optimiser, `after_step`.
"""

import torch
from torch import nn
from torch.distributions import Independent, Normal

from benchmarks.timing import interleaved, ratio
from uncollapse import VAE, Objective, draw
from uncollapse.functional import info_nce
from uncollapse.remedies import HybridCritic, NeuralCritic, Remedy, SelfCritic

PIXELS, HIDDEN, LATENT = 784, 512, 32


class BroadcastCritic(Remedy):
    """The self critic as one would first write it: a B x B x D tensor of log densities."""

    def term(self, draw, model):
        q = draw.q.base_dist
        rows = Independent(Normal(q.loc[None], q.scale[None]), 1)
        return info_nce(rows.log_prob(draw.z[0][:, None]))


def networks():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)
    )
    decoder = nn.Sequential(
        nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS)
    )
    return VAE(encoder, decoder, LATENT)


def trunk(model, x):
    """The encoder without its head."""
    return model.encoder[:-1](x)


REMEDIES = {
    "plain": lambda: [],
    "self critic": lambda: [SelfCritic(20.0)],
    "neural critic": lambda: [NeuralCritic((PIXELS,), LATENT, weight=20.0)],
    "hybrid critic": lambda: [HybridCritic(HIDDEN, LATENT, trunk=trunk, weight=20.0)],
    "broadcast self critic": lambda: [BroadcastCritic(20.0)],
}


def party(name, batch, steps):
    """A call that makes some training steps."""
    model, objective = networks(), Objective(REMEDIES[name]())
    optimiser = torch.optim.Adam([*model.parameters(), *objective.parameters()], 1e-3, fused=True)
    x = (torch.rand(batch, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.13).float()

    def run():
        for _ in range(steps):
            terms = objective(draw(model, x), model)
            loss = torch.stack([term.mean() for term in terms.values()]).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            objective.after_step(model)

    return run


def run(quick=False):
    """Time all parties in turn, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure(quick)
    finally:
        torch.set_num_threads(threads)


def measure(quick):
    figures = {}
    goals = {256: "<= 1.15", 1024: "<= 1.2"}
    for batch, steps, rounds in ((256, 4, 5 if quick else 15), (1024, 1, 3 if quick else 15)):
        names = [name for name in REMEDIES if name != "broadcast self critic"]
        times = interleaved({name: party(name, batch, steps) for name in names}, rounds)
        for name in names[1:]:
            goal = goals[batch] if name == "self critic" else "none: it has networks of its own"
            figures[f"{name} over plain step, B = {batch}"] = ratio(times, name, "plain", goal)
    pair = {name: party(name, 1024, 1) for name in ("plain", "broadcast self critic")}
    times = interleaved(pair, 1 if quick else 3)
    figures["broadcast self critic over plain step, B = 1024"] = ratio(times, "broadcast self critic", "plain", "none")
    return figures
