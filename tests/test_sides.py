from torch import nn

from uncollapse import VAE
from uncollapse.likelihoods import SharedGaussian
from uncollapse.sides import sides
from uncollapse.testing import ToyModel
from uncollapse.wrappers import BatchNormMean


def test_readers_go_with_the_network_that_they_read():
    reader = SharedGaussian()
    model = VAE(nn.Linear(16, 8), nn.Linear(4, 16), latent=4, read_x=reader)
    assert sides(model)["decoder"] == [model.decoder, reader]
    assert sides(model)["encoder"][0] is model.encoder
    assert any(one is reader for one in sides(BatchNormMean(model))["decoder"])


def test_a_model_may_say_so_itself_and_may_have_neither():
    toy = ToyModel()
    toy.parts = lambda: {"encoder": [toy.encoder], "decoder": []}
    assert sides(toy) == {"encoder": [toy.encoder], "decoder": []}
    assert sides(nn.Linear(2, 2)) == {"encoder": [None, None], "decoder": [None, None]}
