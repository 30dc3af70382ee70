"""A property that is computed once, and can be compiled."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached_property"]

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801  (it stands in for functools')
    """What functools' does, without the lock that it has before Python 3.12 and that `torch.compile` cannot trace.

    Example:
        >>> class Answer:
        ...     @cached_property
        ...     def value(self) -> int:
        ...         print("thinking")
        ...         return 42
        >>> answer = Answer()
        >>> answer.value, answer.value
        thinking
        (42, 42)
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make, self.name, self.__doc__ = make, make.__name__, make.__doc__

    @overload
    def __get__(self, owner: None, kind: type) -> "cached_property[T]": ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: object | None, kind: type) -> "T | cached_property[T]":
        """The value; from now on it is an attribute of the object's own."""
        if owner is None:
            return self
        value = self.make(owner)
        owner.__dict__[self.name] = value
        return value
