"""Models of scvi-tools: counts with library size, batches and covariates, whatever likelihood the module declares."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from uncollapse.adapters.base import Adapted
from uncollapse.adapters.conditioned import Conditioned
from uncollapse.codes import device_of, dtype_of
from uncollapse.distributions import Reader, precise, standard_normal
from uncollapse.errors import BadInput, ShapeError, Unsupported

__all__ = ["Columns", "adapt_scvi"]

X, BATCH, LABELS, CATEGORIES, COVARIATES, SIZE = (
    "X", "batch", "labels", "extra_categorical_covs", "extra_continuous_covs", "size_factor",
)  # fmt: skip
WHOLE = {BATCH, LABELS, CATEGORIES}


@dataclass(frozen=True)
class Columns:
    """Where counts and covariates stand in a row of x.

    Attributes:
        kept: (key of scvi-tools, number of columns), in order; counts first.
        fixed: (key, number of columns) of what is 0 for every cell and left out.
    """

    kept: tuple[tuple[str, int], ...]
    fixed: tuple[tuple[str, int], ...] = ()

    @property
    def width(self) -> int:
        """Columns of x."""
        return sum(size for _, size in self.kept)

    def joined(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """x (B, width) from a batch of an scvi-tools loader."""
        return torch.cat([tensors[key].float().reshape(-1, size) for key, size in self.kept], 1)

    def apart(self, x: Tensor) -> dict[str, Tensor]:
        """A batch as scvi-tools makes it, from x (B, width)."""
        if x.ndim != 2 or x.shape[1] != self.width:
            raise ShapeError(f"cells should have {self.width} columns {dict(self.kept)}, got x of {tuple(x.shape)}")
        pieces = torch.split(x, [size for _, size in self.kept], 1)
        found = {key: piece for (key, _), piece in zip(self.kept, pieces, strict=True)}
        found |= {key: x.new_zeros(len(x), size) for key, size in self.fixed}
        return {key: value.round().long() if key in WHOLE else value for key, value in found.items()}


class Scvi(nn.Module):
    """The module of an scvi-tools model behind `posterior`, `likelihood` and `prior`.

    Arguments:
        native: the module, with `inference` and `generative`.
        columns: what a row of x holds.
        given: the prior; N(0, I) if None.
    """

    def __init__(self, native: Any, columns: Columns, given: Distribution | None = None) -> None:
        super().__init__()
        self.native, self.columns, self.given = native, columns, given

    def inference(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The batch as scvi-tools makes it, and what its encoder says of it."""
        tensors = self.columns.apart(x.to(device_of(self), dtype_of(self)))
        return tensors, self.native.inference(**self.native._get_inference_input(tensors))

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x): x (B, columns) gives batch (B,), event (D,)."""
        qz = self.inference(x)[1]["qz"]
        return Independent(Normal(precise(qz.loc), precise(qz.scale), validate_args=False), 1, validate_args=False)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(counts|z, library size, covariates), the last two taken from the x that is scored; batch L, event X."""
        return Conditioned(z, Size((self.columns.width,)), self.score, f"scvi-tools' {type(self.native).__name__}")

    def score(self, z: Tensor, x: Tensor) -> Tensor:
        """log p(counts|z, ...) of cells, (n,) nats."""
        tensors, out = self.inference(x)
        out = {**out, "z": self.native.z_encoder.z_transformation(z.to(device_of(self), dtype_of(self)))}
        if out.get("ql") is not None:
            out["library"] = out["ql"].loc  # else noise of the library size would drown what z says
        px = self.native.generative(**self.native._get_generative_input(tensors, out))["px"]
        return precise(px.log_prob(tensors[X])).sum(-1)

    def prior(self) -> Distribution:
        """p(z): N(0, I), as these modules have it."""
        return self.given or standard_normal(int(self.native.n_latent), device_of(self))


def adapt_scvi(
    native: Any, x: Tensor | None = None, likelihood: str | Reader | None = None, prior: Distribution | None = None
) -> Adapted:
    """A model of scvi-tools, such as SCVI or LinearSCVI, or the module inside one.

    x holds the counts of a cell and, behind them, the batch index and covariates that the model uses;
    `prepare` makes it from an AnnData (None: the model's own), a batch of scvi-tools' loader, or plain counts.

    Arguments:
        native: the model, trained on its registered AnnData, or its module.
        x: not needed.
        likelihood: not taken: the module declares it.
        prior: p(z); N(0, I) if None.

    Raises:
        BadInput: when `likelihood` is given, or a bare module uses covariates.
        Unsupported: for models without one Gaussian z and one likelihood of counts.
    """
    module = getattr(native, "module", native)
    if likelihood is not None:
        raise BadInput("scvi-tools' models declare their likelihood (gene_likelihood=); leave likelihood= out")
    if not all(hasattr(module, name) for name in ("inference", "generative", "z_encoder", "gene_likelihood")):
        raise Unsupported(f"scvi-tools' {type(native).__name__} has not one Gaussian z and one likelihood of counts")
    columns = columns_of(native, module)
    return Adapted(
        Scvi(module, columns, prior),
        kind="scvi-tools",
        remarks=tuple(remarks_of(module, columns)),
        loss=lambda _, x: module(columns.apart(x.to(device_of(module))), loss_kwargs={"kl_weight": 1.0})[2].loss,
        prepare=lambda data: prepared(native, columns, data),
    )


def remarks_of(module: Any, columns: Columns) -> list[str]:
    """What a reader must know of the likelihood and of x."""
    told = [f"the likelihood is the module's own ({module.gene_likelihood}), given each cell's library size"]
    if not module.use_observed_lib_size:
        told.append("the library size is a latent of its own; it is held at the mean of its posterior and not counted")
    if len(columns.kept) > 1:
        told.append(
            f"x holds the counts and then {', '.join(key for key, _ in columns.kept[1:])}, which are not scored"
        )
    if getattr(module, "latent_distribution", "normal") == "ln":
        told.append("codes are before the softmax that makes them logistic normal")
    return told


def columns_of(native: Any, module: Any) -> Columns:
    """Counts, and the covariates that can vary and that the module uses."""
    if native is module:
        if module.n_batch > 1:
            raise BadInput("this module has several batches; hand over the scvi-tools model that holds it")
        return Columns(((X, module.n_input),), ((BATCH, 1), (LABELS, 1)))
    one = next(iter(native._make_data_loader(adata=native.adata, indices=[0, 1], batch_size=2)))
    uses = {
        BATCH: module.n_batch > 1,
        LABELS: module.n_labels > 1 and (module.dispersion == "gene-label" or hasattr(module, "classifier")),
        CATEGORIES: True, COVARIATES: True, SIZE: bool(getattr(module, "use_size_factor_key", False)),
    }  # fmt: skip
    sizes = {key: one[key].reshape(len(one[key]), -1).shape[1] for key in (X, *uses) if one.get(key) is not None}
    kept = tuple((key, size) for key, size in sizes.items() if uses.get(key, True))
    return Columns(kept, tuple((key, size) for key, size in sizes.items() if key in WHOLE and not uses[key]))


def prepared(native: Any, columns: Columns, data: Any) -> tuple[Tensor, Tensor | None]:
    """(x, labels or None) from an AnnData, None, a batch of a loader, or a table of counts."""
    if isinstance(data, Mapping):
        return columns.joined(data), labels_of(native, data)
    if data is None or hasattr(data, "obs"):
        if not hasattr(native, "adata"):
            raise BadInput("a bare module knows no AnnData; hand over the scvi-tools model that holds it, or counts")
        loader = native._make_data_loader(adata=native._validate_anndata(data), batch_size=1024)
        pairs = [prepared(native, columns, batch) for batch in loader]
        labels = [y for _, y in pairs if y is not None]
        return torch.cat([x for x, _ in pairs]), torch.cat(labels) if labels else None
    x, y = data if isinstance(data, tuple | list) and len(data) == 2 else (data, None)
    return torch.as_tensor(x).float(), None if y is None else torch.as_tensor(y)


def labels_of(native: Any, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Registered labels (B,), where there is more than one."""
    module = getattr(native, "module", native)
    return tensors[LABELS].flatten().long() if LABELS in tensors and module.n_labels > 1 else None
