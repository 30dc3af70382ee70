"""What a foreign network returned, as tensors with names."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

__all__ = ["parts_of", "returned_names", "role_of"]

#: Roles by what a name contains, letters and digits only, in the order of looking.
ROLES = (
    ("log-variance", r"log(var|cov|v$|sigma(2|sq))|lnvar|lvar"),
    ("log-deviation", r"log(std|sd|sigma|scale)"),
    ("mean", r"mean|embedding|^mus?\d*$|(fc|[zqx_])mus?\d*$|^mu(layer|head|z|q)|^(z|q|fc)?loc\d*$|qzm"),
    ("variance", r"var|cov|qzv|sigma(2|sq)"),
    ("deviation", r"std|sigma|scale|^[zq]?sd$"),
    ("observation", r"recon|xhat|xrec|xprime|logits|^sample$|prob|output|^x$|decoded"),
    ("sample", r"^zs?\d*$|latents?$|codes?$|samples?$"),
)
KEEP = {
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "clamp",
    "float",
    "to",
    "contiguous",
    "permute",
}


def role_of(name: str) -> str:
    """What a name says of its tensor: "mean", "log-variance", "log-deviation", "variance", "deviation", ... or "".

    Example:
        >>> [role_of(name) for name in ("fc_mu", "logvar", "log_std", "sigma", "h")]
        ['mean', 'log-variance', 'log-deviation', 'deviation', '']
    """
    word = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((role for role, pattern in ROLES if re.search(pattern, word)), "")


def parts_of(raw: Any, names: Sequence[str] = ()) -> list[tuple[str, Any]]:
    """Tensors and distributions in an output, with their names ("" where there are none), in order.

    Arguments:
        raw: a tensor, a distribution, a tuple, a mapping, a named tuple, a data class, or an object with tensors.
        names: of the elements, where `raw` is a plain tuple or list of as many.
    """
    if isinstance(raw, Tensor | Distribution):
        return [(names[0] if len(names) == 1 else "", raw)]
    found: list[tuple[str, Any]] = []
    for name, value in items_of(raw, names):
        inner = parts_of(value)
        found += [(name, value)] if isinstance(value, Tensor | Distribution) else inner
    return found


def items_of(raw: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    """One level of a container as (name, value); nothing for what is no container."""
    if isinstance(raw, Mapping):
        return [(str(key), value) for key, value in raw.items()]
    if isinstance(raw, tuple | list):
        given = getattr(raw, "_fields", names)
        return list(zip(given if len(given) == len(raw) else [""] * len(raw), raw, strict=True))
    if is_dataclass(raw) and not isinstance(raw, type):
        return [(one.name, getattr(raw, one.name)) for one in fields(raw)]
    if raw is None or isinstance(raw, str | bytes | int | float | bool | type) or callable(raw):
        return []
    return [(name, value) for name, value in attributes(raw) if isinstance(value, Tensor | Distribution)]


def attributes(thing: Any) -> list[tuple[str, Any]]:
    """Public attributes that can be read."""
    found = []
    for name in dir(thing):
        if not name.startswith("_"):
            try:
                found.append((name, getattr(thing, name)))
            except Exception:  # a foreign property may raise anything
                continue
    return found


def returned_names(function: Callable[..., Any]) -> list[str]:
    """Names in the last `return a, b` of a function's source; empty when it cannot be read or returns no tuple.

    `self.fc_mu(h)` is called fc_mu, `mu.view(-1, 2)` mu; what goes through any other function has no name.
    """
    function = getattr(function, "forward", function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    last = max(returns, key=lambda node: node.lineno, default=None)
    if isinstance(last, ast.Tuple | ast.List):
        return [name_of(element) for element in last.elts]
    return [] if last is None else [name_of(last)]


def name_of(node: ast.expr) -> str:
    """The name that an expression goes by, or ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "self":
            return node.func.attr
        return name_of(owner) if node.func.attr in KEEP else ""
    return ""
