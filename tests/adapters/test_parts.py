"""Names of outputs, and what they say."""

from types import SimpleNamespace

import pytest
import torch

from uncollapse.adapters.parts import parts_of, returned_names, role_of


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("mean", "mu mean z_mean fc_mu loc qz_m embedding means mu_z q_loc latent_mean fc_mean mu1"),
        ("log-variance", "logvar log_var log_variance log_covariance logsigma2 log_sigma_sq z_log_var fc_logvar lnvar"),
        ("log-deviation", "log_std logstd log_sigma logscale log_sd"),
        ("deviation", "std sigma scale stddev z_std sd"),
        ("variance", "var variance fc_var qz_v covariance sigma2 sigma_sq"),
        ("observation", "recon_x reconstruction x_hat x_recon logits sample output"),
        ("sample", "z latents codes"),
        ("", "h features foo fc21"),
    ],
)
def test_roles(role, names):
    assert {name: role_of(name) for name in names.split()} == dict.fromkeys(names.split(), role)


def test_names_are_read_from_the_source():
    class Net:
        def both(self, h):
            if h is None:
                return None
            return self.fc_mu(h), self.fc_logvar(h)

        def changed(self, mu, other):
            return mu.view(-1, 2), torch.exp(other)

        def one(self, h):
            return self.head(h)

    assert returned_names(Net.both) == ["fc_mu", "fc_logvar"]
    assert returned_names(Net.changed) == ["mu", ""]
    assert returned_names(Net.one) == ["head"]
    assert returned_names(len) == []


def test_parts_of_nested_outputs():
    a, b, c = torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 3)
    inner = SimpleNamespace(mean=a, logvar=b, note="text")
    assert [name for name, _ in parts_of({"latent_dist": inner, "sample": c, "n": 3, "none": None})] == [
        "logvar", "mean", "sample",
    ]  # fmt: skip
    assert [name for name, _ in parts_of((a, b), ["mu", "std"])] == ["mu", "std"]
    assert [name for name, _ in parts_of((a, b), ["mu"])] == ["", ""]
    assert parts_of("text") == parts_of(3) == parts_of(None) == []
