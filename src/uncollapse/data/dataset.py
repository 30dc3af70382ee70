"""A data set: three parts, and what is known about them."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from uncollapse.data.part import BINARISE, Part
from uncollapse.errors import BadInput, ShapeError

__all__ = ["LIKELIHOODS", "DataSet"]

LIKELIHOODS = {
    "bernoulli": "values in [0, 1]",
    "gaussian": "any real numbers",
    "tokens": "ids of a vocabulary, padded with 0",
    "discretised-logistic": "values k/255 in [0, 1]",
    "negative-binomial": "counts",
    "multinomial": "counts",
}
"""Likelihoods by name, and the values that they describe."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training, validation and test examples of one shape.

    Arguments:
        name: what tables call it.
        train, valid, test: the parts.
        likelihood: the one that suits the data, a key of `LIKELIHOODS`.
        scale: standard deviation of the Gaussian likelihood, in the units of the data.
        classes: names of the labels 0, 1, ...; empty where there are none.
        citation, licence, note: for people.
        vocabulary: what the token ids 0, 1, ... stand for; empty where the data are not tokens.
        between: what stands between two tokens when they are written.

    Raises:
        ShapeError: when the parts differ in shape.
        BadInput: when values do not suit the likelihood, or a label has no name.

    Example:
        >>> from uncollapse import data
        >>> digits = data.load("digits")
        >>> digits.shape, len(digits.train), len(digits.valid), len(digits.test)
        ((1, 8, 8), 1257, 180, 360)
    """

    name: str
    train: Part
    valid: Part
    test: Part
    likelihood: str = "bernoulli"
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    citation: str = ""
    licence: str = ""
    note: str = ""
    vocabulary: tuple[str, ...] = ()
    between: str = " "

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            raise BadInput(f"likelihood should be one of {', '.join(LIKELIHOODS)}, got {self.likelihood!r}")
        if not self.scale > 0:
            raise BadInput(f"scale should be a positive standard deviation, got {self.scale!r}")
        for name, part in self.parts.items():
            if part.shape != self.shape:
                raise ShapeError(f"all parts should have examples of shape {self.shape}, but {name} has {part.shape}")
            self._check_values(name, part)

    @property
    def parts(self) -> dict[str, Part]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape X of one example."""
        return self.train.shape

    @property
    def nbytes(self) -> int:
        """Bytes that the stored examples and labels take."""
        return sum(part.nbytes for part in self.parts.values())

    @property
    def likelihood_setting(self) -> str | dict[str, float]:
        """The likelihood as `nets.build_vae` takes it."""
        sized = {"gaussian": self.scale, "tokens": len(self.vocabulary)}
        return {self.likelihood: sized[self.likelihood]} if self.likelihood in sized else self.likelihood

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the stored bytes, the split, the binarisation and the likelihood.

        The name and the texts do not enter: equal data have equal fingerprints. Of examples that are mapped from a
        prepared file, the digest enters in place of the bytes.
        """
        digest = hashlib.sha256(json.dumps([self.likelihood, float(self.scale)]).encode())
        for part in self.parts.values():
            seed = 0 if part.binarise == "none" else part.seed
            settings: list[object] = [list(part.x.shape), str(part.x.dtype), float(part.divisor), part.binarise, seed]
            settings += [list(self.vocabulary)] if self.vocabulary else []
            digest.update(json.dumps(settings).encode())
            if part.known is not None:
                digest.update(part.known.digest.encode())
            for stored in (None if part.known else part.x, part.y):
                if stored is not None:
                    digest.update(stored.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data set with its examples on another device."""
        parts = {name: part.to(device) for name, part in self.parts.items()}
        return replace(self, train=parts["train"], valid=parts["valid"], test=parts["test"])

    def binarised(self, how: str) -> "DataSet":
        """The same data set with another binarisation; "dynamic" is for training, the other parts become fixed."""
        if how not in BINARISE:
            raise BadInput(f"binarise should be one of {', '.join(BINARISE)}, got {how!r}")
        held_out = "none" if how == "none" else "fixed"
        return replace(
            self,
            train=replace(self.train, binarise=how),
            valid=replace(self.valid, binarise=held_out),
            test=replace(self.test, binarise=held_out),
        )

    def _check_values(self, name: str, part: Part) -> None:
        low, high = part.range
        if self.likelihood == "tokens" and not (part.tokens and low >= 0 and high < len(self.vocabulary)):
            raise BadInput(
                f"tokens should be ids of the {len(self.vocabulary)} words of the vocabulary in a part with "
                f"tokens=True, but {name} has {low:g} to {high:g}"
            )
        if self.likelihood in {"negative-binomial", "multinomial"} and low < 0:
            raise BadInput(f"counts are whole numbers from 0, but {name} has {low:g}")
        if self.likelihood in {"bernoulli", "discretised-logistic"} and (low < 0 or high > 1):
            raise BadInput(
                f"a {self.likelihood.capitalize()} likelihood needs values between 0 and 1, but {name} has {low:g} to "
                f"{high:g}; set divisor to the number that means full ink, or take likelihood='gaussian'"
            )
        if self.classes and part.y is not None:
            first, last = int(part.y.min()), int(part.y.max())
            if first < 0 or last >= len(self.classes):
                raise BadInput(f"labels should lie in 0 to {len(self.classes) - 1}, but {name} has {first} to {last}")

    def __repr__(self) -> str:
        sizes = "/".join(str(len(part)) for part in self.parts.values())
        return f"DataSet({self.name!r}, {self.shape}, train/valid/test {sizes}, {self.likelihood})"
