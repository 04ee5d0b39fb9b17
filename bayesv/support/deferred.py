"""Fields of dataclasses that are made when they are first read: labels cost more than numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

__all__ = ["deferred", "later", "unread"]


def deferred[Class: type](*fields: str) -> Callable[[Class], Class]:
    """Let fields of a dataclass be given by `later`."""

    def with_fields(owner: Class) -> Class:
        for name in fields:
            setattr(owner, name, _Deferred(name))
        return owner

    return with_fields


def later[T](make: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Return what becomes ``make(*arguments, **named)`` when the field it is given for is read."""
    return cast(T, _Later(make, *arguments, **named))


def unread(instance: object, field: str) -> tuple[Any, ...] | None:
    """Return the arguments of the call that a field still waits for; None if it has its value."""
    value = instance.__dict__.get(field)
    return value.args if isinstance(value, _Later) else None


class _Later(partial[Any]):
    """The call that makes a value."""


class _Deferred:
    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        if self.name not in instance.__dict__:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}")
        value = instance.__dict__[self.name]
        if isinstance(value, _Later):
            value = instance.__dict__[self.name] = value()
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value
