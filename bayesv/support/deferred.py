"""Fields of dataclasses that are made when they are first read: labels cost more than numbers."""

from __future__ import annotations

from functools import partial
from typing import Any, Generic, TypeVar, overload

__all__ = ["Deferred"]

T = TypeVar("T")


class Deferred(Generic[T]):
    """A field that may be given as a `functools.partial`, which is called when it is first read.

    A dataclass has it as the value of a field in its body; it is no default.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Deferred[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            raise AttributeError(self.name)  # so that dataclasses see no default
        value = instance.__dict__[self.name]
        if isinstance(value, partial):
            value = instance.__dict__[self.name] = value()
        return value

    def __set__(self, instance: Any, value: T | partial[T]) -> None:
        instance.__dict__[self.name] = value
