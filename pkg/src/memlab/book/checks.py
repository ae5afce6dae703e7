"""What the checks of all exercises share: how an answer is read, compared and refused.

An answer counts by its value, not by its type: a number may be NumPy's or torch's, a tensor may
be an array or nested lists, a pair may be a list, a match is as good as True. Whatever is not such
an answer is refused with a sentence, an AssertionError; so is NaN, always. The reader's function
may do with its arguments what it likes: it gets copies, and is judged by the originals.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from numbers import Integral
from typing import Any, ParamSpec, SupportsFloat, TypeVar

import numpy
import torch
from torch import Tensor

NOTHING = "the function returned nothing: does it end in `return`?"
NAN = "expected a number, got nan"
GENERATORS = (torch.Generator, numpy.random.Generator, random.Random)
P = ParamSpec("P")
T = TypeVar("T")


def expect(condition: object, sentence: str) -> None:
    """Raise AssertionError with `sentence` unless `condition` holds.

    The statement `assert` does nothing under `python -O`, and every answer would be right.
    """
    if not condition:
        raise AssertionError(sentence)


def on_copies(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, called with copies of its arguments, so that what it changes in place stays as it
    was for the check that judges its answer.

    Tensors, arrays, containers and data classes are copied in depth. Functions, models and
    generators of random numbers are handed over themselves: a copied generator would draw the same
    numbers at every call.
    """

    def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        own: Any = [_copy(one) for one in args]
        named: Any = {name: _copy(one) for name, one in kwargs.items()}
        return function(*own, **named)

    return answer


def _copy(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.clone()  # deepcopy takes none that a gradient leads to
    if callable(given) or isinstance(given, GENERATORS):
        return given
    return copy.deepcopy(given)


def number(
    got: object,
    *,
    nothing: str = NOTHING,
    nan: str = NAN,
) -> int | float:
    """One real number of any library, an array of one entry, a fraction or a decimal, as Python's
    own int or float.

    Raises AssertionError: `nothing` for None, `nan` for NaN, a sentence for what is not one number.
    """
    expect(got is not None, nothing)
    value = _real(got)
    if value is None:
        raise AssertionError(f"expected one number, got {type(got).__name__}")
    expect(not math.isnan(value), nan)
    return value


def _real(got: Any) -> int | float | None:
    """None if it is not one real number, or one that no float can hold."""
    size = got.numel() if isinstance(got, Tensor) else getattr(got, "size", None)
    if isinstance(size, int) and size == 1 and hasattr(got, "item"):
        got = got.item()
    if not isinstance(got, SupportsFloat):
        return None
    try:
        value = float(got)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return int(got) if isinstance(got, Integral) else value


def truth(got: object) -> bool:
    """Whether `if got:` would go on: for True and False of any library, a match or None, a list.

    Raises AssertionError for NaN and for what is neither true nor false, as an array of several.
    """
    try:
        holds = bool(got)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AssertionError(f"expected True or False, got {form(got)}") from error
    value = _real(got)
    expect(value is None or not math.isnan(value), "expected True or False, got nan")
    return holds


def sequence(got: object, sentence: str) -> list[Any]:
    """What stands in a list, a tuple, an array or an iterator, in its order.

    Raises AssertionError with `sentence` for anything else: a text, a mapping, a set.
    """
    if not isinstance(got, Iterable) or isinstance(got, str | bytes | Mapping | Set):
        raise AssertionError(sentence)
    expect(getattr(got, "ndim", 1) > 0, sentence)
    return list(got)


def several(
    got: object,
    count: int,
    sentence: str,
) -> list[Any]:
    """The results of a function that returns `count` of them; AssertionError with `sentence` if it
    does not."""
    results = sequence(got, sentence)
    expect(len(results) == count, sentence)
    return results


def numbers(got: object, sentence: str) -> list[int | float]:
    """A sequence of numbers as Python's own; AssertionError with `sentence` if it is none, or with
    another one if a number is NaN."""
    made = []
    expect(getattr(got, "ndim", 1) == 1, sentence)
    for one in sequence(got, sentence):
        value = _real(one)
        if value is None:
            raise AssertionError(sentence)
        expect(not math.isnan(value), NAN)
        made.append(value)
    return made


def tensor(
    got: object,
    shape: Sequence[int] | None,
    sentence: str,
    *,
    no_tensor: str | None = None,
    nan: str = NAN,
) -> Tensor:
    """Tensors, arrays and nested sequences of numbers as a tensor of double precision that is on
    the CPU and off the graph; `shape` None stands for any.

    Raises AssertionError: `no_tensor` (or `sentence`) if it holds no numbers, `sentence` if its
    shape is another one, `nan` if a number is NaN.
    """
    made = _array(got)
    if made is None:
        raise AssertionError(no_tensor or sentence)
    expect(shape is None or tuple(made.shape) == tuple(shape), sentence)
    expect(not made.isnan().any(), nan)
    return made


def _array(got: object) -> Tensor | None:
    """None if it is not an array of real numbers."""
    if got is None:
        return None
    try:
        made = numpy.array(_off_the_graph(got))
        if made.dtype.kind not in "biufO":
            return None
        return torch.from_numpy(made.astype(numpy.float64, order="C"))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _off_the_graph(got: object) -> object:
    """Tensors as arrays, wherever they stand: NumPy takes none that need a gradient."""
    if isinstance(got, list | tuple):
        return [_off_the_graph(one) for one in got]
    if not isinstance(got, Tensor):
        return got
    if got.is_complex():
        raise TypeError("expected real numbers, got complex ones")
    return got.detach().cpu().double().numpy()


def form(got: object) -> str:
    """How a sentence names what came: the shape of an array or of lists, else the value itself."""
    made = _array(got)
    if made is None or (made.ndim == 0 and not isinstance(got, Tensor | numpy.ndarray)):
        return f"{got!r:.80}"
    return str(tuple(made.shape))


def close(
    got: Tensor | int | float,
    wanted: Tensor | int | float,
    *,
    atol: float = 1e-6,
) -> bool:
    """Whether all numbers agree as far as single precision goes, in which an answer may come."""
    ours, theirs = (torch.as_tensor(one, dtype=torch.float64) for one in (wanted, got))
    return torch.allclose(theirs, ours, rtol=1e-5, atol=atol)
