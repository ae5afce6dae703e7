"""What the checks of the exercises share: an answer counts by its value, and what is none gets a
sentence."""

from __future__ import annotations

import math
import random
import re
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pandas as pd
import pytest
import torch

from memlab.book import checks
from memlab.corpora import poems

on_the_graph = torch.tensor([1.0, 2.0], requires_grad=True)
ALSO_NUMBERS = [
    0.5,
    numpy.float32(0.5),
    numpy.float64(0.5),
    numpy.float16(0.5),
    numpy.longdouble(0.5),
    numpy.array(0.5),
    numpy.array([[0.5]]),
    torch.tensor(0.5),
    torch.tensor([0.5], dtype=torch.bfloat16),
    on_the_graph.prod() / 4,
    Fraction(1, 2),
    Decimal("0.5"),
    pd.Series([0.5]),
]
NO_NUMBERS = [
    "9",
    numpy.str_("9"),
    b"9",
    [0.5],
    (1,),
    {},
    ...,
    object(),
    1j,
    numpy.complex64(1),
    torch.tensor(1j),
    numpy.zeros(2),
    torch.zeros(2),
    torch.zeros(0),
    pd.NA,
    10**400,
    Decimal("sNaN"),
]
NANS = [
    math.nan,
    numpy.float32("nan"),
    torch.tensor(math.nan),
    numpy.array(math.nan),
    Decimal("NaN"),
]


def test_expect_lets_what_holds_pass_and_says_its_sentence_otherwise() -> None:
    for holds in (True, numpy.True_, torch.tensor(True), 1, "text"):
        checks.expect(holds, "said")
    for fails in (False, numpy.False_, torch.tensor(False), 0, "", None, []):
        with pytest.raises(AssertionError, match="^said$"):
            checks.expect(fails, "said")


@pytest.mark.parametrize("got", ALSO_NUMBERS, ids=repr)
def test_a_number_of_any_library_is_a_number(got: Any) -> None:
    assert checks.number(got) == 0.5
    assert type(checks.number(got)) is float


@pytest.mark.parametrize(
    "got", [7, numpy.int64(7), numpy.uint8(7), torch.tensor(7), numpy.array([7])], ids=repr
)
def test_a_whole_number_stays_one(got: Any) -> None:
    assert checks.number(got) == 7 and type(checks.number(got)) is int
    assert checks.number(2**60 + 1) == 2**60 + 1
    assert checks.number(-math.inf) == -math.inf


@pytest.mark.parametrize("got", NO_NUMBERS, ids=lambda got: repr(got)[:20])
def test_what_is_not_one_number_is_refused(got: Any) -> None:
    with pytest.raises(AssertionError, match=f"^expected one number, got {type(got).__name__}$"):
        checks.number(got)


@pytest.mark.parametrize("got", NANS, ids=repr)
def test_nan_is_no_answer(got: Any) -> None:
    with pytest.raises(AssertionError, match="^expected a number, got nan$"):
        checks.number(got)
    with pytest.raises(AssertionError, match="^empty cells$"):
        checks.number(got, nan="empty cells")
    with pytest.raises(AssertionError, match="^expected True or False, got nan$"):
        checks.truth(got)
    with pytest.raises(AssertionError, match="^expected a number, got nan$"):
        checks.numbers([1, got], "two")
    with pytest.raises(AssertionError, match="^expected a number, got nan$"):
        checks.tensor([1.0, got], (2,), "two")


def test_nothing_is_named() -> None:
    with pytest.raises(AssertionError, match=re.escape(checks.NOTHING)):
        checks.number(None)
    with pytest.raises(AssertionError, match="^did you forget$"):
        checks.number(None, nothing="did you forget")
    with pytest.raises(AssertionError, match="^four, got None$"):
        checks.tensor(None, (4,), f"four, got {checks.form(None)}")


@pytest.mark.parametrize(
    "yes", [True, numpy.True_, torch.tensor([True]), 1, re.match("a", "a"), ["a"], "a"], ids=repr
)
def test_what_python_takes_for_true_is_true(yes: Any) -> None:
    assert checks.truth(yes) is True


@pytest.mark.parametrize(
    "no", [False, numpy.False_, torch.tensor(False), 0, 0.0, re.match("a", "b"), [], ""], ids=repr
)
def test_what_python_takes_for_false_is_false(no: Any) -> None:
    assert checks.truth(no) is False


@pytest.mark.parametrize("got", [torch.ones(2), numpy.ones(2), pd.NA, pd.Series([1, 1])], ids=repr)
def test_what_is_neither_true_nor_false_is_refused(got: Any) -> None:
    with pytest.raises(AssertionError, match="^expected True or False, got "):
        checks.truth(got)


@pytest.mark.parametrize(
    "got",
    [
        [1, 2],
        (1.0, 2.0),
        numpy.array([1, 2]),
        on_the_graph,
        [torch.tensor(1), torch.tensor(2)],
        iter([1, 2]),
        range(1, 3),
        pd.Series([1, 2]),
        {"a": 1, "b": 2}.values(),
    ],
    ids=lambda got: type(got).__name__,
)
def test_numbers_in_an_order_are_a_list(got: Any) -> None:
    assert checks.numbers(got, "two numbers") == [1, 2]


@pytest.mark.parametrize(
    "got", [None, 5, "12", {1, 2}, {1: 2}, ["1", "2"], [None], torch.ones(2, 2), torch.tensor(1.0)]
)
def test_what_is_no_sequence_of_numbers_is_refused(got: Any) -> None:
    with pytest.raises(AssertionError, match="^two numbers$"):
        checks.numbers(got, "two numbers")


def test_several_results_may_be_a_tuple_a_list_or_the_rows_of_an_array() -> None:
    for got in ((1, 2), [1, 2], numpy.array([1, 2]), torch.tensor([1, 2])):
        a, b = checks.several(got, 2, "a pair")
        assert (a, b) == (1, 2)
    for got in (None, 1, (1,), (1, 2, 3), "ab", OrderedDict(a=1, b=2), torch.tensor(1.0)):
        with pytest.raises(AssertionError, match="^a pair$"):
            checks.several(got, 2, "a pair")


@pytest.mark.parametrize(
    "got",
    [
        on_the_graph.expand(2, 2),
        [[1, 2], [1, 2]],
        ((1.0, Decimal(2)), (Fraction(1), numpy.int8(2))),
        [on_the_graph, on_the_graph],
        numpy.array([[1, 2], [1, 2]], dtype=">i2"),
        numpy.array([[2, 1], [2, 1]])[:, ::-1],
        torch.tensor([[1, 2], [1, 2]], dtype=torch.bfloat16),
        pd.DataFrame([[1, 2], [1, 2]]),
    ],
    ids=lambda got: type(got).__name__,
)
def test_numbers_in_any_arrangement_are_a_tensor(got: Any) -> None:
    made = checks.tensor(got, (2, 2), "a matrix")
    assert made.dtype == torch.float64 and not made.requires_grad
    assert made.tolist() == [[1, 2], [1, 2]]
    assert checks.form(got) == "(2, 2)"
    with pytest.raises(AssertionError, match="^a row$"):
        checks.tensor(got, (4,), "a row", no_tensor="no tensor")


@pytest.mark.parametrize("got", [None, "12", {}, {1}, ..., [[1], [1, 2]], ["1"], 1j, [1j], object])
def test_what_holds_no_numbers_is_no_tensor(got: Any) -> None:
    with pytest.raises(AssertionError, match="^no tensor$"):
        checks.tensor(got, None, "a row", no_tensor="no tensor")


def test_a_form_is_a_shape_or_the_value_itself() -> None:
    assert checks.form(torch.ones(2, 3)) == "(2, 3)" and checks.form(numpy.array(1.0)) == "()"
    assert checks.form(None) == "None" and checks.form(0.5) == "0.5"
    assert checks.form("a" * 200) == "'" + "a" * 79


def test_close_means_single_precision() -> None:
    exact = torch.tensor([1 / 3, 100 / 3], dtype=torch.float64)
    assert checks.close(exact.float(), exact) and checks.close(0.0, 1e-7)
    assert not checks.close(exact + 1e-3, exact) and not checks.close(0.0, 1e-5)
    assert checks.close(math.inf, math.inf) and not checks.close(math.nan, math.nan)
    assert checks.close(2, 2.1, atol=0.2) and not checks.close(2, 2.1)


def seen(given: Any) -> str:
    return repr(given.tolist() if isinstance(given, torch.Tensor) else given)


def emptied(*given: Any, **named: Any) -> list[str]:
    """The arguments as they came, and then nothing is left of them."""
    kept = [seen(one) for one in (*given, *named.values())]
    for one in (*given, *named.values()):
        if isinstance(one, torch.Tensor):
            one.zero_()
        elif isinstance(one, numpy.ndarray):
            one.fill(0)
        elif isinstance(one, poems.Poems):
            emptied(one.keys, one.bodies)
        elif isinstance(one, tuple):
            emptied(*one)
        else:
            one.clear()
    return kept


HANDED: list[Any] = [
    torch.arange(1, 5),
    torch.ones(6)[::2],
    torch.ones(2, 3).T,
    torch.ones(3).bool(),
    torch.ones(1).expand(3),
    on_the_graph * 2,
    numpy.ones(3),
    [1, [2, 3]],
    {"a": [1]},
    {1, 2},
    bytearray(b"a"),
    ([1], torch.ones(2)),
    poems.synthetic(3, 4, 8),
]


@pytest.mark.parametrize("handed", HANDED, ids=lambda handed: type(handed).__name__)
def test_what_a_function_does_to_its_arguments_does_not_reach_the_check(handed: Any) -> None:
    before = seen(handed)
    assert checks.on_copies(emptied)(handed, handed) == [before, before]
    assert checks.on_copies(emptied)(again=handed) == [before]
    assert seen(handed) == before


@pytest.mark.parametrize(
    "draw",
    [random.Random(0), numpy.random.default_rng(0), torch.Generator()],
    ids=["random", "numpy", "torch"],
)
def test_a_generator_goes_on_from_call_to_call(draw: Any) -> None:
    @checks.on_copies
    def number(draw: Any) -> float:
        if isinstance(draw, torch.Generator):
            return torch.rand((), generator=draw).item()
        return draw.random()

    assert len({number(draw) for _ in range(3)}) == 3


def test_functions_and_models_are_handed_over_themselves() -> None:
    same = checks.on_copies(lambda one: one)
    for one in (math.sqrt, torch.relu, torch.nn.Linear(2, 2), {}.__getitem__, lambda: 1):
        assert same(one) is one
