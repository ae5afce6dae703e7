"""How a state is made to last: its tensors belong to it alone, and to no mode that its writer was
in."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, overload

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def plain(function: Callable[P, T]) -> Callable[P, T]:
    """The function in torch's plain mode, in whatever mode its caller is.

    A tensor made under `torch.inference_mode` can later be neither written into nor part of a
    gradient, and a state outlives the block it was written in. Autocast would round the products
    of a memory to bfloat16.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with contextlib.ExitStack() as modes:
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
            if torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(False))
                # Which has switched gradients on, that the caller had switched off.
                modes.enter_context(torch.no_grad())
            return function(*args, **kwargs)

    return run


class computed_once(Generic[T]):
    """A property of a state that its first use computes and keeps.

    It is computed anew each time where a gradient may go through it: a graph serves only once.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = plain(function)
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, state: None, owner: type) -> computed_once[T]: ...

    @overload
    def __get__(self, state: object, owner: type | None = None) -> T: ...

    def __get__(self, state: object | None, owner: type | None = None) -> Any:
        if state is None:
            return self
        found = self.function(state)
        if not has_gradient(state):
            vars(state)[self.name] = found  # which is looked up before this property
        return found


def has_gradient(state: object) -> bool:
    """Whether a tensor of the state is part of a graph."""
    parts = vars(state).values()
    return any(isinstance(part, Tensor) and part.requires_grad for part in parts)
