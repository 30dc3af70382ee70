"""TensorBoard files, read back by TensorBoard's own reader."""

import pytest
import torch
from torch import nn

from uncollapse import VAE, fit

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_a_run_with_a_folder_leaves_scalars(tmp_path):
    data = torch.rand(64, 6, generator=torch.Generator().manual_seed(0)).round()
    out = fit(
        VAE(nn.Linear(6, 4), nn.Linear(2, 6), latent=2), (data, data), batches=20, batch_size=16, folder=tmp_path,
        validate_every=10, log_every=5, watch=lambda model: {"answer": 42.0},
    )  # fmt: skip
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"train/distortion", "train/rate", "validation/valid/score", "validation/answer"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("validation/valid/score")] == [10, 20]
    written = [event.value for event in events.Scalars("validation/valid/score")]
    assert written == pytest.approx([record["valid"]["score"] for record in out.history], rel=1e-6)
