"""YAML text as plain values: safe, of a bounded size, and every mistake in one sentence with its line."""

import re
from typing import Any

import yaml

from uncollapse.errors import BadInput

__all__ = ["Loader", "loaded"]

MOST_TEXT = 2**20  # characters of a file of settings
MOST_NODES = 100_000  # values, those that an alias repeats counted each time
DEEPEST = 60


class Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are all different words or numbers."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key should be a word or a number, not a list or a mapping", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$|^[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)$"),
    list("-+0123456789."),
)


def loaded(text: str, source: str) -> tuple[yaml.Node | None, Any]:
    """The tree of a YAML text, which knows the lines, and its value.

    Aliases are followed, but counted each time they are used: nine lines of them could otherwise stand for a billion
    values.

    Arguments:
        text: of the file.
        source: its name, for messages.

    Raises:
        BadInput: when it is no YAML, too large, nested too deeply, or an alias holds itself.

    Example:
        >>> loaded("lr: 1e-3", "run.yaml")[1]
        {'lr': 0.001}
    """
    if len(text) > MOST_TEXT:
        raise BadInput(f"{source}: expected settings of at most {MOST_TEXT} characters, got {len(text)}")
    try:
        tree = yaml.compose(text, Loader)
        if tree is not None:
            measured(tree, {}, source)
        return tree, yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise BadInput(f"{where}: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise BadInput(f"{source}: expected settings nested at most {DEEPEST} deep, got more") from error
    except BadInput:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # such as the date 2001-99-99
        raise BadInput(f"{source}: a value is not what its tag or form says: {error}; put it in quotes") from error


def measured(node: yaml.Node, known: dict[int, int], source: str, deep: int = 0) -> int:
    """Values below a node, each alias counted anew.

    Raises:
        BadInput: when they are too many, too deep, or endless.
    """
    line = node.start_mark.line + 1
    if known.get(id(node)) == 0:
        raise BadInput(f"{source}:{line}: an alias here stands for something that holds it; write the value out")
    if deep > DEEPEST:
        raise BadInput(f"{source}:{line}: expected settings nested at most {DEEPEST} deep, got more")
    if id(node) not in known:
        known[id(node)] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        pieces = [piece for one in inner for piece in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(measured(piece, known, source, deep + 1) for piece in pieces)
    if known[id(node)] > MOST_NODES:
        raise BadInput(f"{source}:{line}: stands for more than {MOST_NODES} values; expected the settings of a study")
    return known[id(node)]
