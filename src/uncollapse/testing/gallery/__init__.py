"""Models with known truth, for holding a diagnosis to account. Public.

Every specimen is made from its seed in about a second: a small model that was trained, broken or built so that what
is wrong with it is known beforehand, with the verdict and the first cause that are right. docs/gallery.md tells each
one's story; tests/testing/test_gallery.py proves its truth without `uncollapse.diagnose`.
"""

from collections.abc import Callable, Iterator

from uncollapse.errors import BadInput
from uncollapse.testing.gallery import collapsed, decoders, geometry, healthy, trouble, weights
from uncollapse.testing.gallery.specimen import Specimen, sown

__all__ = ["Specimen", "gallery", "names", "specimen"]

MAKERS: tuple[Callable[[int], Specimen], ...] = (
    healthy.healthy,
    healthy.healthy_2d,
    healthy.healthy_conv,
    healthy.healthy_gaussian,
    healthy.discrete_codes,
    healthy.learned_prior,
    healthy.huge,
    healthy.redundant_latents,
    collapsed.posterior_at_prior,
    collapsed.constant_off_prior,
    collapsed.active_on_samples,
    collapsed.half_dead,
    collapsed.sixty_four_latents,
    collapsed.one_class_collapsed,
    collapsed.dead_head,
    collapsed.frozen_head,
    collapsed.encoder_left_out,
    collapsed.untrained,
    decoders.decoder_ignores_z,
    decoders.autoregressive_decoder,
    decoders.lagging_encoder,
    weights.kl_mean_reduced,
    weights.beta_6144,
    weights.beta_zero,
    weights.noisy_decoder,
    weights.schedule_unfinished,
    geometry.prior_hole,
    geometry.scale_inflation,
    geometry.tight_clusters,
    geometry.batch_statistics,
    trouble.nan_inputs,
    trouble.one_example,
    trouble.duplicated_data,
)
BY_NAME = {maker.__name__.replace("_", "-"): maker for maker in MAKERS}


def names() -> tuple[str, ...]:
    """Names of all specimens, in the order of docs/gallery.md.

    Example:
        >>> len(names()) >= 24
        True
    """
    return tuple(BY_NAME)


def specimen(name: str, seed: int = 0) -> Specimen:
    """One model with known truth, the same for the same seed.

    Arguments:
        name: one of `names()`.
        seed: of the data, the starting weights and the noise of training.

    Raises:
        BadInput: when there is no specimen of this name.

    Example:
        >>> specimen("half-dead")
        Specimen(half-dead: partial collapse; more latents than the data support)
    """
    if name not in BY_NAME:
        raise BadInput(f"there is no specimen {name!r}; there are {', '.join(names())}")
    with sown(name, seed):
        return BY_NAME[name](seed)


def gallery(seed: int = 0) -> Iterator[Specimen]:
    """All specimens, one after the other, each made when it is asked for.

    Arguments:
        seed: as for `specimen`.

    Example:
        >>> next(gallery()).name
        'healthy'
    """
    for name in names():
        yield specimen(name, seed)
