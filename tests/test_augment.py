"""Views of a batch: geometry against arithmetic, colours against one image at a time, ranges, randomness."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from uncollapse import augment
from uncollapse.augment import Affine, BitFlip, Chain, Colour, Crop, Dropout, Flip, Noise, TokenDropout, of
from uncollapse.augment.colour import turn
from uncollapse.errors import BadInput, ShapeError

IMAGES = {"crop": Crop(), "flip": Flip(), "affine": Affine(), "colour": Colour(), "all": of("crop+flip+affine+colour")}
VECTORS = {"bits": BitFlip(), "noise": Noise(), "dropout": Dropout(), "none": Chain()}


@pytest.fixture
def ramp():
    """A plane: bilinear interpolation is exact on it."""
    down, along = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    return (along + 100 * down).expand(64, 1, 12, 16).clone()


def places(matrix, height, width):
    """Where every pixel of a view comes from, in pixels of the image: rows and columns, (B, H, W)."""
    y = (2 * torch.arange(height) + 1) / height - 1
    x = (2 * torch.arange(width) + 1) / width - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], -1)
    found = torch.einsum("bij,hwj->bhwi", matrix, grid)
    return ((found[..., 1] + 1) * height - 1) / 2, ((found[..., 0] + 1) * width - 1) / 2


@pytest.mark.parametrize(
    "warp", [Crop(), Flip(1.0), Flip(0.0), Affine(degrees=45, shift=0.3, outside="border")], ids=repr
)
def test_a_view_shows_what_the_matrix_says(warp, ramp):
    torch.manual_seed(0)
    view = warp(ramp)
    torch.manual_seed(0)
    row, column = places(warp.matrix(ramp), 12, 16)
    expected = column.clamp(0, 15) + 100 * row.clamp(0, 11)
    torch.testing.assert_close(view[:, 0], expected, rtol=1e-4, atol=1e-2)


def test_neighbours_are_multiplied_and_sampled_once(ramp):
    chain, samplings = Chain((Crop((0.3, 0.6)), Flip(), Affine(outside="border"))), []
    torch.manual_seed(0)
    first, second, third = (part.matrix(ramp) for part in chain.parts)
    torch.manual_seed(0)
    genuine = F.grid_sample
    try:
        F.grid_sample = lambda *a, **k: samplings.append(1) or genuine(*a, **k)
        view = chain(ramp)
    finally:
        F.grid_sample = genuine
    assert len(samplings) == 1
    row, column = places(first @ second @ third, 12, 16)
    torch.testing.assert_close(view[:, 0], column.clamp(0, 15) + 100 * row.clamp(0, 11), rtol=1e-4, atol=1e-2)


def test_a_crop_lies_inside_and_its_area_and_ratio_are_as_asked():
    torch.manual_seed(0)
    matrix = Crop((0.2, 1.0), (0.5, 2.0)).matrix(torch.zeros(20_000, 1, 8, 8))
    width, height, across, down = matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2]
    assert bool((across.abs() + width <= 1 + 1e-5).all())
    assert bool((down.abs() + height <= 1 + 1e-5).all())
    area, log_ratio = width * height, (width / height).log()
    assert area.min() >= 0.2 - 1e-5
    torch.testing.assert_close(
        area.quantile(torch.tensor([0.25, 0.5, 0.75])), torch.tensor([0.4, 0.6, 0.8]), atol=0.02, rtol=0
    )
    small = log_ratio[area < 0.5]  # there every ratio fits
    assert small.mean().abs() < 0.02
    assert small.std().item() == pytest.approx(2 * 0.6931 / 12**0.5, abs=0.02)
    assert bool((log_ratio.abs() <= -area.log() + 1e-4).all())


def test_flips_are_exact_and_half_of_them_happen():
    torch.manual_seed(0)
    x = torch.rand(2000, 1, 4, 6)
    view = Flip()(x)
    flipped = (view - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    kept = (view - x).abs().amax((1, 2, 3)) < 1e-5
    assert bool((flipped ^ kept).all())
    assert 0.45 < flipped.float().mean() < 0.55


def test_a_turn_is_one_of_pixels_whatever_the_sides():
    torch.manual_seed(0)
    matrix = Affine(degrees=90, shift=0, zoom=(1, 1)).matrix(torch.zeros(50, 1, 9, 15))
    row, column = places(matrix, 9, 15)
    right = torch.stack([column[:, 4, 10] - 7, row[:, 4, 10] - 4])  # from the middle: three pixels to the right
    below = torch.stack([column[:, 7, 7] - 7, row[:, 7, 7] - 4])  # three pixels down
    torch.testing.assert_close(right.norm(dim=0), torch.full((50,), 3.0))
    torch.testing.assert_close(
        torch.stack([-below[1], below[0]]), torch.stack([-right[0], -right[1]]), atol=1e-4, rtol=0
    )
    assert torch.atan2(right[1], right[0]).abs().max() > 1.3


def colour_by_hand(x, u, jitter):
    """One image after the other, step by step."""
    out, luma = [], torch.tensor([0.299, 0.587, 0.114])
    for i, image in enumerate(x):
        b, c, s = (1 - 0.4 + 0.8 * u[k, i] for k in (1, 2, 3))
        grey_only, hue = u[5, i] < jitter.grey, 2 * torch.pi * jitter.hue * (2 * u[4, i] - 1)
        if u[0, i] >= jitter.p:
            b, c, s, hue = torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1.0), torch.tensor(0.0)
        image = b * image
        image = c * image + (1 - c) * torch.einsum("chw,c->hw", image, luma).mean()
        s = torch.tensor(0.0) if grey_only else s
        image = s * image + (1 - s) * torch.einsum("chw,c->hw", image, luma)
        out.append(torch.einsum("ij,jhw->ihw", turn(hue[None])[0], image).clamp(0, 1))
    return torch.stack(out)


def test_colours_by_hand():
    x, jitter = torch.rand(40, 3, 5, 7), Colour(p=0.6, grey=0.3)
    torch.manual_seed(3)
    view = jitter(x)
    torch.manual_seed(3)
    torch.testing.assert_close(view, colour_by_hand(x, torch.rand(6, 40), jitter), rtol=1e-4, atol=1e-5)


def test_hue_turns_about_the_grey_axis():
    third = turn(torch.tensor([2 * torch.pi / 3]))[0]
    torch.testing.assert_close(third @ torch.eye(3), torch.eye(3)[[2, 0, 1]], atol=1e-6, rtol=0)  # red becomes green
    torch.testing.assert_close(turn(torch.tensor([0.7]))[0] @ torch.ones(3), torch.ones(3))


def test_one_channel_has_brightness_and_contrast_only():
    torch.manual_seed(0)
    view = Colour(brightness=0, contrast=0, saturation=0.9, hue=0.5, grey=1.0)(x := torch.rand(4, 1, 5, 5))
    torch.testing.assert_close(view, x)
    assert not torch.equal(Colour(p=1.0)(x), x)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
def test_binary_images_stay_between_zero_and_one(name, channels):
    torch.manual_seed(0)
    x = (torch.rand(64, channels, 9, 11) < 0.5).float()
    view = IMAGES[name](x)
    assert view.shape == x.shape
    assert view.min() >= 0
    assert view.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in view}) == 64  # every image by its own numbers


def test_values_outside_zero_and_one_survive():
    x = torch.randn(16, 3, 8, 8) * 5
    for name in IMAGES:
        view = IMAGES[name](x)
        assert view.isfinite().all()
        assert view.min() < -3


@pytest.mark.parametrize("name", [*IMAGES, *VECTORS])
def test_random_numbers_are_torchs_and_settings_print_and_pickle(name, device, dtype):
    view = {**IMAGES, **VECTORS}[name]
    torch.manual_seed(1)
    x = torch.rand(8, 3, 6, 6).to(device, dtype)
    kept = x.clone()
    torch.manual_seed(2)
    one = view(x)
    torch.manual_seed(2)
    assert torch.equal(one, pickle.loads(pickle.dumps(view))(x))
    assert torch.equal(x, kept)
    assert one.dtype == x.dtype
    assert one.device == x.device
    assert " at 0x" not in repr(view)
    assert eval(repr(view), dict(vars(augment))) == view


@pytest.mark.parametrize("name", [*IMAGES, *VECTORS])
def test_half_precision_and_autocast_do_not_blur(name):
    view = {**IMAGES, **VECTORS}[name]
    x = torch.rand(8, 3, 6, 6)
    torch.manual_seed(2)
    plain = view(x)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(view(x), plain)
    assert view(x.bfloat16()).dtype == torch.bfloat16


def test_bits_noise_and_dropout():
    torch.manual_seed(0)
    x = (torch.rand(500, 40) < 0.5).float()
    flipped = BitFlip(0.1)(x)
    assert set(flipped.unique().tolist()) == {0.0, 1.0}
    assert (flipped != x).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (Noise(0.3)(x) - x).std().item() == pytest.approx(0.3, abs=0.01)
    assert Noise(0.3, low=0.0)(x).min() == 0
    gone = Dropout(0.25)(x + 1)
    assert (gone == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(gone[gone != 0], (x + 1)[gone != 0])
    counts = torch.randint(1, 9, (50, 6))
    assert Dropout(0.5)(counts).dtype == counts.dtype


def test_tokens():
    torch.manual_seed(0)
    x = torch.randint(0, 50, (300, 20))
    view = TokenDropout(0.2, unknown=3, keep=(0, 1, 2))(x)
    special = x < 3
    assert torch.equal(view[special], x[special])
    changed = view[~special] != x[~special]
    assert set(view[~special][changed].tolist()) == {3}
    assert changed.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert view.dtype == x.dtype


def test_names_mappings_lists_and_functions():
    assert of("crop") == Crop()
    assert of("crop + flip") == Chain((Crop(), Flip()))
    assert of({"name": "crop", "scale": [0.5, 1]}) == Crop(scale=(0.5, 1.0))
    assert of([{"name": "bits", "p": 0.3}, "none"]) == Chain((BitFlip(0.3), Chain()))
    assert of(torch.neg) is torch.neg
    assert of(Crop()) == Crop()
    assert torch.equal(of("none")(x := torch.rand(2, 3)), x)
    assert repr(Chain((test_tokens, Flip()))) == "Chain((test_tokens, Flip(p=0.5)))"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("crp", "did you mean 'crop'"), ("color", "did you mean 'colour'"), ({"crop": {}}, "no augmentation None"),
        ({"name": "crop", "scal": 1}, "did you mean 'scale'"), (5, "a name, a mapping"),
        ({"name": "none", "p": 1}, "known: none"), ({"name": "crop", "scale": [0.9, 0.1]}, "two rising numbers"),
        ({"name": "crop", "scale": 0.5}, "two rising numbers"),
        ({"name": "crop", "ratio": [2, 3]}, "with 1 in it"), ({"name": "bits", "p": 1.5}, "from 0 to 1"),
        ({"name": "flip", "p": True}, "from 0 to 1"), ({"name": "affine", "outside": "white"}, "zeros, border"),
        ({"name": "affine", "degrees": 200}, "from 0 to 180"), ({"name": "colour", "hue": 0.9}, "from 0 to 0.5"),
        ({"name": "noise", "scale": "big"}, "a number"), ({"name": "noise", "low": "x"}, "a number"),
        ({"name": "tokens", "unknown": 1.5}, "ids of tokens"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_sentence(spec, words):
    with pytest.raises(BadInput, match=words):
        of(spec)


@pytest.mark.parametrize(
    ("view", "x"),
    [
        (Crop(), torch.rand(4, 16)), (Crop(), torch.zeros(4, 1, 8, 8, dtype=torch.long)),
        (Colour(), torch.rand(4, 2, 8, 8)), (of("crop+flip"), torch.rand(4, 16)), (TokenDropout(), torch.rand(4, 3)),
        (BitFlip(), torch.zeros(4, 3, dtype=torch.long)), (Noise(), torch.zeros(4, 3, dtype=torch.long)),
    ],
)  # fmt: skip
def test_wrong_data_are_one_sentence(view, x):
    with pytest.raises(ShapeError, match="needs"):
        view(x)


def test_warps_may_not_go_without_a_matrix():
    with pytest.raises(NotImplementedError):
        augment.Warp().matrix(torch.rand(1, 1, 2, 2))
