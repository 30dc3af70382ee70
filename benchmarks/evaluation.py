"""Evaluation of a whole test set: the importance-weighted bound, and the local spectrum of a decoder.

IWAE. The reference is what He et al., 2019 (https://arxiv.org/abs/1901.05534, github.com/jxhe/vae-lagging-encoder,
`VAE.nll_iw` as `calc_iwnll` calls it: batches of 50 images, blocks of 100 samples, encoder passed again for each block,
clamped logarithms of sigmoids, all in float32), with a plain MLP decoder in place of theirs. The floor is the FLOPs of
the decoder's products over the measured rate of float32 products of the same shapes at the same number of threads.
200 images (4 in the quick form) stand for 10,000: seconds are scaled, and every image costs the same.

Spectrum. The parties are one example at a time (`torch.func.jacfwd`, then the products in float64), and ours.
"""

import math
import statistics
from itertools import pairwise

from benchmarks.timing import gemm_rate, interleaved, limit, ratio, threads

IMAGES, SAMPLES, PIXELS, HIDDEN, LATENT, DIRECTIONS = 10_000, 500, 784, 512, 64, 32
BATCH, BLOCK, CORES, ROWS = 50, 100, 2, 512
MOST = 20  #: seconds for the local spectrum of all images
TINY = 1e-12  #: as in the reference


def model(latent=LATENT):
    import torch

    from uncollapse import VAE
    from uncollapse.nets import MLPDecoder, MLPEncoder

    torch.manual_seed(0)
    hidden = (HIDDEN, HIDDEN)
    return VAE(MLPEncoder((PIXELS,), latent, hidden), MLPDecoder((PIXELS,), latent, hidden), latent).eval()


def images(count):
    import torch

    return torch.rand(count, PIXELS, generator=torch.Generator().manual_seed(0)).lt(0.3).float()


def reference(vae, x, samples=SAMPLES):
    """Negative log likelihood of every image, (N,) nats, as the reference computes it."""
    import torch

    found = []
    with torch.no_grad():
        for batch in torch.split(x, BATCH):
            weights = [block_of_weights(vae, batch, min(samples, BLOCK)) for _ in range(max(1, samples // BLOCK))]
            found.append(math.log(samples) - torch.logsumexp(torch.cat(weights, 1), 1))
    return torch.cat(found)


def block_of_weights(vae, x, samples):
    """log p(x|z) + log p(z) - log q(z|x), (B, samples)."""
    import torch

    mean, log_variance = (part.unsqueeze(1) for part in vae.encoder(x).chunk(2, 1))
    scale = log_variance.mul(0.5).exp().expand(-1, samples, -1)
    z = mean.expand_as(scale) + torch.mul(torch.zeros_like(scale).normal_(), scale)
    log_prior = (-0.5 * math.log(2 * math.pi) - z**2 / 2).sum(-1)
    shares = vae.decoder(z.reshape(-1, z.shape[-1])).sigmoid().view(len(x), samples, -1)
    seen = x.unsqueeze(1)
    fit = ((shares + TINY).log() * seen + (1.0 - shares + TINY).log() * (1.0 - seen)).sum(2)
    gap = z - mean
    log_q = -0.5 * ((gap**2) / log_variance.exp()).sum(-1)
    log_q = log_q - 0.5 * (z.shape[-1] * math.log(2 * math.pi) + log_variance.sum(-1))
    return fit + log_prior - log_q


def ours(vae, x, samples=SAMPLES, precision="32"):
    from uncollapse.metrics import nll

    return nll(vae, x, samples=samples, precision=precision)


def products(latent):
    """FLOPs of the decoder's products for one vector, by their shapes (k, n)."""
    return {(a, b): 2 * a * b for a, b in pairwise((latent, HIDDEN, HIDDEN, PIXELS))}


def floor(vectors):
    """Seconds that the decoder's products take for so many vectors, at the rates measured at their shapes."""
    return sum(vectors * flops / gemm_rate((ROWS, *shape)) for shape, flops in products(LATENT).items())


def bounds(quick):
    """Figures of the importance-weighted bound."""
    count, rounds, samples = (4, 2, BLOCK) if quick else (200, 5, SAMPLES)
    vae, x = model(), images(count)
    least = []
    parties = {
        "reference": lambda: reference(vae, x, samples),
        "ours": lambda: ours(vae, x, samples),
        "ours, bf16": lambda: ours(vae, x, samples, "bf16"),
        "floor": lambda: least.append(floor(count * samples)),
    }
    times = interleaved(parties, rounds)
    times["floor"] = least[1:]  # the seconds that it stands for; the first round is not counted
    told = next(flag for flag in ours(vae, x[:8], samples, "bf16").flags if flag.startswith("bf16"))
    name = f"IWAE-{samples} of an MLP VAE, {CORES} threads"
    figures = {
        f"time: reference / ours, {name}": ratio(times, "reference", "ours", ">= 2"),
        f"time: ours / the decoder's floor in fp32, {name}": ratio(times, "ours", "floor", "<= 1.2"),
        f"time: reference / ours in bf16, on request, {name}": {
            **ratio(times, "reference", "ours, bf16", ">= 2"), "error": told,
        },
    }  # fmt: skip
    seconds = [one * IMAGES / count for one in times["ours"]]
    figures[f"time: ours / the decoder's floor in fp32, {name}"] |= {
        "floor": statistics.median(times["floor"]), "seconds for 10,000 images": round(statistics.median(seconds), 1),
    }  # fmt: skip
    return figures


def spectrum(vae, z):
    from uncollapse.metrics import local_spectrum

    return local_spectrum(vae, z)


def one_by_one(vae, z):
    """Eigenvalues of J'FJ, one example after another."""
    import torch

    found = []
    with torch.no_grad():
        for at in z:
            jacobian = torch.func.jacfwd(lambda a: vae.decoder(a[None])[0])(at).double()
            share = vae.decoder(at[None])[0].double().sigmoid()
            found.append(torch.linalg.eigvalsh(jacobian.T @ ((share * (1 - share))[:, None] * jacobian)).flip(0))
    return torch.stack(found)


def points(count, latent=DIRECTIONS):
    import torch

    return torch.randn(count, latent, generator=torch.Generator().manual_seed(0))


def spectra(quick):
    """Figures of the local spectrum."""
    count, rounds = (200, 2) if quick else (1000, 5)
    vae, z = model(DIRECTIONS), points(count)
    few = z[: count // 10]
    times = interleaved({"ours": lambda: spectrum(vae, z), "one by one": lambda: one_by_one(vae, few)}, rounds)
    scaled = [one * IMAGES / count for one in times["ours"]]
    times["one by one"] = [10 * one for one in times["one by one"]]
    vectors = IMAGES * (DIRECTIONS + 1)  # the values once, and every direction
    least = sum(vectors * flops / gemm_rate((ROWS, *shape)) for shape, flops in products(DIRECTIONS).items())
    name = f"local spectrum of {DIRECTIONS} latents, MLP decoder to {PIXELS}, {CORES} threads"
    return {
        f"time: {name}, 10,000 examples": {**limit(scaled, MOST), "floor": round(least, 3)},
        f"time: one example at a time / ours, {name}": ratio(times, "one by one", "ours", "> 1"),
    }


def run(quick=False):
    """Figures by name; in the quick form with few examples and samples, which says nothing about the goals."""
    with threads(CORES):
        return {**bounds(quick), **spectra(quick)}


def curves(quick=False):
    """Seconds against the number of samples, against that of latents, and against that of examples."""
    rounds = 1 if quick else 3
    with threads(CORES):
        return {
            "Importance-weighted bound of 20 images, MLP VAE": against_samples(quick, rounds),
            "Local spectrum of 200 examples, MLP decoder": against_latents(quick, rounds),
            f"Local spectrum, MLP decoder, {DIRECTIONS} latents": against_examples(quick, rounds),
        }


def against_samples(quick, rounds):
    vae, x = model(), images(4 if quick else 20)
    sizes, seconds = (100, 200) if quick else (100, 200, 500, 1000, 2000), {}
    for samples in sizes:
        parties = {
            "reference": lambda k=samples: reference(vae, x, k),
            "uncollapse": lambda k=samples: ours(vae, x, k),
            "uncollapse, bf16": lambda k=samples: ours(vae, x, k, "bf16"),
        }
        collect(seconds, interleaved(parties, rounds))
        seconds.setdefault("decoder's floor", []).append(floor(len(x) * samples))
    return {"x": list(sizes), "xlabel": "samples K", "seconds": seconds, "MiB": {}}


def against_latents(quick, rounds):
    sizes, seconds = (4, 8) if quick else (4, 8, 16, 32, 64), {}
    for latent in sizes:
        vae, z = model(latent), points(20 if quick else 200, latent)
        parties = {"one example at a time": lambda v=vae, a=z: one_by_one(v, a)}
        collect(seconds, interleaved({**parties, "uncollapse": lambda v=vae, a=z: spectrum(v, a)}, rounds))
    return {"x": list(sizes), "xlabel": "latents D", "seconds": seconds, "MiB": {}}


def against_examples(quick, rounds):
    vae, seconds = model(DIRECTIONS), {}
    sizes = (20, 40) if quick else (100, 300, 1000, 3000)
    for count in sizes:
        z = points(count)
        collect(seconds, interleaved({"uncollapse": lambda a=z: spectrum(vae, a)}, rounds))
    return {"x": list(sizes), "xlabel": "examples N", "seconds": seconds, "MiB": {}}


def collect(seconds, times):
    """Add the least time of each party to its line."""
    for name, found in times.items():
        seconds.setdefault(name, []).append(min(found))
