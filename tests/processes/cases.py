"""What is trained by one process and by several: every remedy and wrapper, networks of every kind."""

import torch

from uncollapse.data import DataSet, Part, from_tensors
from uncollapse.study import ModelSpec, Run
from uncollapse.study.build import known

SMALL = {"name": "mlp", "hidden": [12]}
ARGUMENTS = {
    "Anneal": {"over": 5}, "Cyclical": {"over": 4, "cycles": 2}, "Capacity": {"target": 2.0, "strength": 3.0},
    "GECO": {"distortion": 20.0}, "Rescue": {"pretrain": 2, "anneal": 2}, "Aggressive": {"window": 2, "most": 4},
    "MomentumContrast": {"augment": "bits"}, "FreeBits": {"floor": 0.1},
}  # fmt: skip
FURTHER = {
    "SelfCritic, z": {"SelfCritic": {"direction": "z"}},
    "SelfCritic, binary": {"SelfCritic": {"kind": "binary", "direction": "both"}},
    "SelfCritic, memory": {"SelfCritic": {"memory": 25}},
    "SelfCritic, candidates": {"SelfCritic": {"candidates": 100, "compare": "mean"}},
    "SelfCritic, model": {"SelfCritic": {"side": "model", "gradient": "straight_through"}},
    "HybridCritic, model": {"HybridCritic": {"side": "model", "gradient": "detached"}},
    "NeuralCritic, model": {"NeuralCritic": {"side": "model", "gradient": "straight_through"}},
    "NeuralCritic, learnt": {"NeuralCritic": {"learn_temperature": True, "temperature": 0.5}},
    "MomentumContrast, queue": {"MomentumContrast": {"augment": "bits", "queue": 16, "in_batch": False}},
    "MomentumContrast, views": {
        "MomentumContrast": {"augment": "bits", "query": "view", "reconstruct": "view", "symmetric": True}
    },
    "MomentumContrast, no copy": {"MomentumContrast": {"augment": "bits", "key": "end_to_end"}},
    "MomentumContrast, running": {"MomentumContrast": {"augment": "bits", "batch_norm": "running"}},
    "LatentReconstruction, posterior": {
        "LatentReconstruction": {"source": "posterior", "detach": False, "share": 1.0}
    },
    "LatentReconstruction, scaled": {"LatentReconstruction": {"source": "posterior", "encoder_scale": 0.5}},
    "LatentReconstruction, decoder": {"LatentReconstruction": {"flow": "decoder"}},
    "LatentReconstruction, encoder": {"LatentReconstruction": {"flow": "encoder"}},
    "FreeBits, batch mean": {"FreeBits": {"floor": 1.0, "mode": "batch_mean"}},
    "MMD, median": {"MMD": {"bandwidth": "median", "kernel": "imq", "statistic": "v"}},
    "MINE, all": {"MINE": {"pairs": "all", "bound": "nwj"}},
    "Aggressive, encoder": {"Aggressive": {"window": 2, "most": 4, "gradients": "encoder"}},
}  # fmt: skip
WRAPPED = {"FlowPrior": {"transforms": 2, "hidden": [8]}, "VampPrior": {"pseudo_inputs": 7},
           "SemiAmortised": {"steps": 2}, "AutoregressivePrior": {"length": 3}}  # fmt: skip
NETWORKS = {
    "resnet, pixelcnn": ("resnet", "pixelcnn-small"), "conv, skip": ("conv-small", "skip-conv-small"),
    "batch norm": ("cr-tiny", "cr-tiny"), "lid": ("mlp", "lid"),
}  # fmt: skip
TEXT = {
    "lstm": ("lstm", "lstm"),
    "transformer": ("transformer", "transformer"),
    "he2019": ("lstm-he2019", "lstm-he2019"),
}


def pictures(side: int = 8) -> DataSet:
    """Seventy binary pictures."""
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(70, 1, side, side, generator=generator)
    return from_tensors((chance * 255).byte(), binarise="dynamic", divisor=255, name="pictures")


def sentences() -> DataSet:
    """Seventy sentences of three to seven words."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 12, (70, 8), generator=generator)
    lengths = torch.randint(3, 8, (70, 1), generator=generator)
    place = torch.arange(8)
    ids = torch.where(place < lengths, ids, torch.where(place == lengths, 3, 0))
    parts = {
        name: Part(ids[a:b], tokens=True) for name, a, b in (("train", 0, 50), ("valid", 50, 60), ("test", 60, 70))
    }
    words = ("<pad>", "<unk>", "<bos>", "<eos>", *"abcdefgh")
    return DataSet(name="sentences", **parts, likelihood="tokens", vocabulary=words)


def run(remedies=(), encoder=SMALL, decoder=SMALL, wrap=(), **fit):
    """A short run whose weights move by the gradient alone."""
    settings = {"batches": 4, "batch_size": 10, "validate_every": 1, "optimiser": "plain-sgd", "lr": 0.02, **fit}
    model = ModelSpec(encoder, decoder, 3, wrap=list(wrap))
    return Run(model=model, remedies=list(remedies), fit={**settings, "keep": "last"}, seed=1)


def cases() -> dict[str, tuple[DataSet, Run]]:
    """What is trained, by name."""
    plain, text = pictures(), sentences()
    found = {name: (plain, run([{name: ARGUMENTS.get(name, {})}])) for name in known("remedy")}
    found |= {name: (plain, run([spec])) for name, spec in FURTHER.items()}
    for name in known("wrapper"):
        if name not in {"WordDropout", "AutoregressivePrior"}:
            critic = [] if name == "VonMisesFisher" else ["SelfCritic"]
            found[name] = (plain, run(critic, wrap=[{name: WRAPPED.get(name, {})}]))
    found["several remedies"] = (plain, run(["Beta", {"FreeBits": {"floor": 0.1}}, "SelfCritic", "MMD"], samples=3))
    found["adam, clip"] = (plain, run(["SelfCritic"], optimiser="adam", clip=1.0, samples=2))
    found |= {
        name: (plain, run(["HybridCritic"] if "lid" not in name else [], encoder, decoder))
        for name, (encoder, decoder) in NETWORKS.items()
    }
    found |= {name: (text, run(["SelfCritic"], *networks)) for name, networks in TEXT.items()}
    found["word dropout"] = (text, run([], "lstm", "lstm", wrap=[{"WordDropout": {"rate": 0.5, "unknown": 1}}]))
    return found
