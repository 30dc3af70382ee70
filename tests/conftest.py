"""Options --device and --dtype, and a watch over torch's globals."""

import pytest
import torch
from torch.distributions import Distribution


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where contracts and formulas are tested: cpu, cuda, mps")
    parser.addoption("--dtype", default="float32", choices=["float32", "float64"], help="type of their tensors")


@pytest.fixture(scope="session")
def device(request):
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    return getattr(torch, request.config.getoption("--dtype"))


def torch_globals():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "threads": torch.get_num_threads(),
        "validation of distributions": Distribution._validate_args,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "precision of matrix products": torch.get_float32_matmul_precision(),
    }


def restore(before):
    torch.set_default_dtype(before["default dtype"])
    torch.set_default_device(before["default device"])
    torch.set_grad_enabled(before["gradients"])
    torch.set_num_threads(before["threads"])
    Distribution.set_default_validate_args(before["validation of distributions"])
    torch.use_deterministic_algorithms(before["deterministic algorithms"])
    torch.autograd.set_detect_anomaly(before["anomaly detection"])
    torch.set_float32_matmul_precision(before["precision of matrix products"])


@pytest.fixture(autouse=True)
def torch_globals_stay():
    """Fail the test that leaves torch's globals changed, and spare the next one."""
    before = torch_globals()
    yield
    after = torch_globals()
    changed = [f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        restore(before)
        pytest.fail("the test left torch's globals changed: " + "; ".join(changed))
