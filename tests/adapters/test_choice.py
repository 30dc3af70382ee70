"""Adapters import no library whose models they adapt, and models are told apart by where their classes come from."""

import ast
from pathlib import Path

from torch import nn

import uncollapse.adapters
from uncollapse.adapters import Adapted, adapt
from uncollapse.adapters.choice import sentence

FOLDER = Path(uncollapse.adapters.__file__).parent
LIBRARIES = {"pythae", "scvi", "anndata", "diffusers", "transformers", "lightning", "pytorch_lightning"}


def test_no_adapter_imports_its_library():
    for path in FOLDER.glob("*.py"):
        if path.stem == "callback":  # derives from Lightning's own class, and is imported by name only
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & LIBRARIES, f"{path.name} imports {names}"


class Ours(nn.Module):
    """Answers the three questions itself."""

    posterior = likelihood = prior = lambda self, *_: None


def test_what_answers_itself_is_passed_through_whatever_its_library():
    Ours.__module__ = "lightning.pytorch.mine"
    model = Ours()
    assert isinstance(adapt(model), Adapted)
    assert adapt(model).model is model


def test_a_compiled_model_is_unwrapped():
    """Stands in for `torch.compile`, which switches off the validation of all distributions when it is imported."""
    model, compiled = Ours(), nn.Module()
    compiled._orig_mod = model
    assert adapt(compiled).model is model


def test_remarks_are_sentences():
    assert sentence("the decoder is odd") == "The decoder is odd."
    assert sentence("decode(z) fails.") == "decode(z) fails."
