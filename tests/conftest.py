"""Options --device and --dtype, a watch over torch's globals, and a web server on this machine."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files`; `server.mood(handler, number)` may answer a request in its own way."""

    def do_GET(self):
        with self.server.guard:
            number = len(self.server.asked)
            self.server.asked.append((self.path, self.headers.get("Range")))
        if self.server.mood is not None and self.server.mood(self, number):
            return
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404, "Not Found")
            return
        self.piece(body)

    def piece(self, body, end=None, ranges=True):
        """What was asked for; `end` cuts the connection at that byte of the whole."""
        wanted = self.headers.get("Range") if ranges else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:end])

    def log_message(self, *words):
        pass


@contextmanager
def served(files, mood=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files, server.mood, server.asked, server.guard = files, mood, [], threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def serving(monkeypatch):
    """`with serving({"/path": bytes}) as server`: its requests are in `asked`, its address in `url`."""
    monkeypatch.setenv("no_proxy", "*")
    return served
