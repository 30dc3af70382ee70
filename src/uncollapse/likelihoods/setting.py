"""Likelihoods by name, for settings that come from a file."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from uncollapse.distributions import FixedGaussian, Reader, bernoulli
from uncollapse.errors import BadInput
from uncollapse.likelihoods.counts import Multinomial, NegativeBinomial
from uncollapse.likelihoods.gaussian import LearnedGaussian, SharedGaussian
from uncollapse.likelihoods.logistic import DiscretisedLogistic
from uncollapse.likelihoods.tokens import tokens

__all__ = ["pick", "planes_of", "read_likelihood", "vocabulary_of"]

#: likelihoods by name; each is called with the shape X of an example and the setting beside its name, or None
READERS: dict[str, Callable[[Sequence[int], Any], Reader]] = {
    "bernoulli": lambda shape, value: nothing("bernoulli", value, bernoulli),
    "gaussian": lambda shape, value: FixedGaussian(number("gaussian", value, 1.0)),
    "gaussian-shared": lambda shape, value: SharedGaussian(number("gaussian-shared", value, 1.0)),
    "gaussian-learned": lambda shape, value: (
        LearnedGaussian() if value is None else LearnedGaussian(number("gaussian-learned", value, 0.0))
    ),
    "discretised-logistic": lambda shape, value: DiscretisedLogistic(scale="learned" if value is None else value),
    "tokens": lambda shape, value: tokens,
    "negative-binomial": lambda shape, value: NegativeBinomial(width(shape), "share" if value is None else value),
    "multinomial": lambda shape, value: nothing("multinomial", value, Multinomial()),
}


def read_likelihood(setting: Any, shape: Sequence[int] = ()) -> Reader:
    """The reader of a likelihood setting.

    Arguments:
        setting: a name, or {name: value}: {"gaussian": deviation}, {"gaussian-shared": deviation at the start},
            {"gaussian-learned": smallest deviation}, {"discretised-logistic": "shared"}, {"tokens": V},
            {"negative-binomial": "exp"}.
        shape: X, shape of one observation.

    Raises:
        BadInput: for an unknown name, or a value that makes no sense.

    Example:
        >>> read_likelihood({"gaussian": 0.5})
        FixedGaussian(0.5)
    """
    name, value = parted(setting)
    return READERS[name](shape, value)


def parted(setting: Any) -> tuple[str, Any]:
    """Name and value of a setting."""
    if isinstance(setting, Mapping) and len(setting) == 1:
        ((name, value),) = setting.items()
        if value is None:
            raise BadInput(f'a likelihood with a setting needs a value, got {name!r} with none; write "{name}" alone')
        return pick("likelihood", name, READERS), value
    return pick("likelihood", setting, READERS), None


def vocabulary_of(setting: Any) -> int | None:
    """V of {"tokens": V}; None for likelihoods that are not of tokens.

    Raises:
        BadInput: when tokens come without the size of their vocabulary.
    """
    name, value = parted(setting)
    if name != "tokens":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 4:
        raise BadInput(
            'likelihood {"tokens": V} takes the size of the vocabulary, which holds padding, begin, end and unknown '
            f"at least, got {value!r}"
        )
    return int(value)


def planes_of(reader: Any) -> int:
    """How many numbers the decoder gives for every value of x."""
    return int(getattr(reader, "planes", 1))


def number(name: str, value: Any, default: float) -> float:
    """The value as a standard deviation."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f'likelihood {{"{name}": ...}} takes a standard deviation, got {value!r}')
    return float(value)


def nothing(name: str, value: Any, reader: Reader) -> Reader:
    """The reader of a likelihood that takes no value."""
    if value is not None:
        raise BadInput(f'the {name} likelihood has no setting: write "{name}"')
    return reader


def width(shape: Sequence[int]) -> int:
    """V of examples (V,)."""
    if len(shape) != 1:
        raise BadInput(f"counts are vectors of shape (V,), got examples of shape {tuple(shape)}")
    return int(shape[0])


def pick(kind: str, name: Any, known: Any) -> str:
    """The name, if it is known; otherwise an error with the nearest one that is."""
    if isinstance(name, str) and name in known:
        return name
    near = get_close_matches(str(name), list(known), 1, 0.4)
    hint = f"did you mean {near[0]!r}? known: " if near else "known: "
    raise BadInput(f"unknown {kind} {name!r}; {hint}{', '.join(known)}")
