"""Doctests see torch, and every one starts from the same seed."""

import pytest
import torch
from torch import nn

import uncollapse


@pytest.fixture(autouse=True)
def doctest_names(request, doctest_namespace):
    """Names that every docstring example may use."""
    if request.node.__class__.__name__ == "DoctestItem":
        torch.manual_seed(0)
        doctest_namespace.update(torch=torch, nn=nn, uncollapse=uncollapse)
