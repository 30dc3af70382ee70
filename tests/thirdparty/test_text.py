"""A text VAE of a BERT encoder and a GPT-2 decoder (in the manner of Optimus), from small configurations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("transformers", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")

from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel  # noqa: E402

from uncollapse import Codes, draw  # noqa: E402
from uncollapse.adapters import adapt  # noqa: E402
from uncollapse.metrics import shuffle_gap  # noqa: E402

V, T, D, PAD, BOS, EOS = 20, 9, 4, 0, 1, 2


class Optimus(nn.Module):
    """z reaches the decoder as an addition to every embedding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        self.bert = BertModel(BertConfig(vocab_size=V, max_position_embeddings=T, pad_token_id=PAD, **small))
        self.gpt = GPT2LMHeadModel(
            GPT2Config(vocab_size=V, n_positions=T, n_embd=32, n_layer=1, n_head=2, bos_token_id=BOS, eos_token_id=EOS)
        )
        self.head, self.enter = nn.Linear(32, 2 * D), nn.Linear(D, 32)

    def encode(self, input_ids, attention_mask=None):
        mean, logvar = self.head(self.bert(input_ids, attention_mask=attention_mask).pooler_output).chunk(2, -1)
        return mean, logvar

    def decode(self, z, input_ids, attention_mask=None):
        embeddings = self.gpt.transformer.wte(input_ids) + self.enter(z)[:, None]
        return self.gpt(inputs_embeds=embeddings, attention_mask=attention_mask)


def sentences(n=200):
    """Each repeats one word of its own, then ends; padded."""
    random = torch.Generator().manual_seed(0)
    word, length = torch.randint(3, V, (n,), generator=random), torch.randint(3, T - 1, (n,), generator=random)
    ids = torch.full((n, T), PAD)
    for row, (w, k) in enumerate(zip(word.tolist(), length.tolist(), strict=True)):
        ids[row, : k + 1] = torch.tensor([BOS, *[w] * (k - 1), EOS])
    return ids


@pytest.fixture(scope="module")
def model():
    net, x = Optimus(), sentences()
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(120):
        mean, logvar = net.encode(x, (x != PAD).long())
        z = mean + torch.randn_like(mean) * (logvar / 2).exp()
        loss = -own(net, z, x).mean() + min(step / 100, 1) * 0.2 * kl(mean, logvar).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def kl(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)


def own(net, z, x):
    """log p(x|z) as transformers scores a language model: shifted, without padding."""
    logits = net.decode(z, x, (x != PAD).long()).logits[:, :-1]
    targets = x[:, 1:].masked_fill(x[:, 1:] == PAD, -100)
    return -F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100).sum(1)


@pytest.mark.parametrize("as_float", [False, True])
def test_posterior_and_teacher_forced_likelihood(model, as_float):
    ids = sentences()
    x = ids.float() if as_float else ids
    adapted = adapt(model, x)
    assert adapted.kind == "text"
    assert adapted.decodes
    mean, logvar = model.encode(ids, (ids != PAD).long())
    one = draw(adapted.model, x, samples=2)
    torch.testing.assert_close(one.q.mean, mean)
    torch.testing.assert_close(one.kl.sum(1), kl(mean, logvar))
    torch.testing.assert_close(one.log_px[1], own(model, one.z[1], ids), rtol=1e-4, atol=1e-4)


def test_padding_changes_nothing(model):
    ids = sentences()
    adapted = adapt(model, ids)
    short = ids[:, : int((ids != PAD).sum(1).max())]
    other = adapt(model, short)
    z = adapted.model.posterior(ids).mean
    torch.testing.assert_close(other.model.posterior(short).mean, z, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        other.model.likelihood(z).log_prob(short), adapted.model.likelihood(z).log_prob(ids), rtol=1e-4, atol=1e-4
    )


def test_the_word_is_in_the_code(model):
    ids = sentences()
    adapted = adapt(model, ids)
    assert Codes.of(adapted.model, ids).kl.sum(1).mean() > 1
    assert shuffle_gap(adapted.model, ids).value > 1
