"""Every memory and every method, given numbers in every dtype, from every kind of tensor and in
every mode of torch: the answer that plain float32 gets, or one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from memlab import runtime
from memlab.memories import (
    DenseHopfield,
    Hopfield,
    Kanerva,
    KeyValue,
    KeyValueState,
    Larimar,
    LarimarState,
    PseudoInverse,
    PublishedLarimar,
    Recursive,
    Sharded,
    checks,
    gaussian_addresses,
    iterate_inverse,
    iteration_residual,
    linear_addresses,
    rows,
)

# With the hook on, a wrong rank or type is caught before our own check.
WRONG = (ValueError, jaxtyping.TypeCheckError)


def whole(*shape: int, seed: int = 0, most: int = 2) -> Tensor:
    draw = runtime.generator(seed, "inputs", *shape)
    return torch.randint(-most, most + 1, shape, generator=draw)


def signs(*shape: int, seed: int = 0) -> Tensor:
    return 2 * whole(*shape, seed=seed, most=1).clamp(min=0) - 1


# Whole numbers, which all dtypes hold.
NUMBERS = {
    "keys": whole(5, 6),
    "values": whole(5, 3, seed=1),
    "some keys": whole(5, 6)[1:3],
    "some values": whole(5, 3, seed=1)[1:3],
    "more keys": whole(4, 6, seed=2),
    "more values": whole(4, 3, seed=3),
    "queries": whole(4, 6, seed=4),
    "matrix": 2 * torch.eye(8, 6, dtype=torch.long) + whole(8, 6, seed=5, most=1),
    "mean": whole(6, 3, seed=6),
    "covariance": 2 * torch.eye(6, dtype=torch.long),
    "signs": signs(3, 6),
    "more signs": signs(2, 6, seed=1),
    "cues": signs(4, 6, seed=2),
    "lengths": torch.arange(5),
}


class Inputs:
    """The numbers by name, in the form asked for; remembers which were taken."""

    def __init__(
        self, form: Callable[[Tensor], Any] = Tensor.float, only: str | None = None
    ) -> None:
        self.form = form
        self.only = only
        self.taken: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        if self.only not in (None, name):
            return NUMBERS[name].float()
        if name not in self.taken:
            self.taken[name] = self.form(NUMBERS[name])
        return self.taken[name]


Fill = Callable[[Inputs], Any]
Ask = Callable[[Any, Inputs], Tensor]


def key_values(memory: Any, dtype: torch.dtype = torch.float32) -> tuple[Fill, dict[str, Ask]]:
    def fill(given: Inputs) -> Any:
        state = memory.empty(6, 3, dtype=dtype, key_dtype=dtype, capacity=7)
        return memory.write(state, given("keys"), given("values"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more keys"), given("more values"))

    def read(state: Any) -> Tensor:
        return memory.read(state, NUMBERS["queries"].float())

    some = torch.tensor([[0, 2]])
    return fill, {
        "scores": lambda state, given: memory.address(state, given("queries"))[0],
        "rows": lambda state, given: memory.address(state, given("queries"))[1].float(),
        "read": lambda state, given: memory.read(state, given("queries")),
        "take": lambda state, given: memory.take(state, some).float(),
        "take one": lambda state, given: memory.take(state, torch.tensor(2)).float(),
        "keys_only": lambda state, given: memory.address(
            memory.keys_only(state, given("more keys")), given("queries")
        )[0],
        "write": lambda state, given: read(write(state, given)),
        "forget": lambda state, given: read(memory.forget(write(state, given), some[0])),
        "first": lambda state, given: read(memory.first(write(state, given), 6)),
    }


def pseudo_inverse() -> tuple[Fill, dict[str, Ask]]:
    memory = PseudoInverse(0.01)

    def fill(given: Inputs) -> Any:
        return memory.write(memory.empty(6, 3), given("keys"), given("values"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more keys"), given("more values"))

    return fill, {
        "read": lambda state, given: memory.read(state, given("queries")),
        "novelty": lambda state, given: memory.novelty(state, given("queries")),
        "solve": lambda state, given: memory.solve(state),
        "read sums": lambda state, given: memory.read(write(state, given), given("queries")),
        "novelty in sums": lambda state, given: memory.novelty(
            write(state, given), given("queries")
        ),
        "forget": lambda state, given: memory.solve(
            memory.forget(state, given("some keys"), given("some values"))
        ),
        "forget sums": lambda state, given: memory.solve(
            memory.forget(write(state, given), given("more keys"), given("more values"))
        ),
    }


def recursive() -> tuple[Fill, dict[str, Ask]]:
    memory = Recursive(0.1)

    def fill(given: Inputs) -> Any:
        return memory.write(memory.empty(6, 3), given("keys"), given("values"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more keys"), given("more values"))

    def forget(state: Any, given: Inputs) -> Any:
        return memory.forget(write(state, given), given("more keys"), given("more values"))

    return fill, {
        "read": lambda state, given: memory.read(state, given("queries")),
        "write": lambda state, given: memory.read(write(state, given), given("queries")),
        "forget": lambda state, given: memory.read(forget(state, given), given("queries")),
    }


def kanerva() -> tuple[Fill, dict[str, Ask]]:
    memory = Kanerva(0.5)

    def fill(given: Inputs) -> Any:
        return memory.start(given("mean"), given("covariance"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("keys"), given("values"))

    def forget(state: Any, given: Inputs) -> Any:
        return memory.forget(write(state, given), given("keys"), given("values"))

    return fill, {
        "start": lambda state, given: memory.read(memory.start(given("mean")), given("queries")),
        "read": lambda state, given: memory.read(state, given("queries")),
        "variance": lambda state, given: memory.variance(state, given("queries")),
        "write": lambda state, given: memory.read(write(state, given), given("queries")),
        "variance then": lambda state, given: memory.variance(
            write(state, given), given("queries")
        ),
        "forget": lambda state, given: memory.read(forget(state, given), given("queries")),
    }


def larimar() -> tuple[Fill, dict[str, Ask]]:
    memory = Larimar()

    def fill(given: Inputs) -> Any:
        return memory.write(memory.start(given("matrix")), given("keys"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more keys"))

    return fill, {
        "address": lambda state, given: memory.address(state, given("queries")),
        "read": lambda state, given: memory.read(state, given("queries")),
        "novelty": lambda state, given: memory.novelty(state, given("queries")),
        "read M0": lambda state, given: memory.read(
            memory.start(given("matrix")), given("queries")
        ),
        "write": lambda state, given: memory.read(write(state, given), given("queries")),
        "novelty then": lambda state, given: memory.novelty(write(state, given), given("queries")),
    }


def larimar_start() -> tuple[Fill, dict[str, Ask]]:
    """A state that nothing was written to: M₀ alone."""
    memory = Larimar()
    return lambda given: memory.start(given("matrix")), {
        "read": lambda state, given: memory.read(state, given("queries")),
        "novelty": lambda state, given: memory.novelty(state, given("queries")),
        "write": lambda state, given: memory.read(
            memory.write(state, given("keys")), given("queries")
        ),
    }


def published() -> tuple[Fill, dict[str, Ask]]:
    memory = PublishedLarimar(start_scale=None)
    return lambda given: memory.start(given("matrix")), {
        "read": lambda state, given: memory.read(state, given("queries")),
        "write": lambda state, given: memory.read(
            memory.write(state, given("keys")), given("queries")
        ),
        "iterate_inverse": lambda state, given: iterate_inverse(given("matrix"), start=None),
        "iteration_residual": lambda state, given: iteration_residual(given("lengths")),
    }


def addresses() -> tuple[Fill, dict[str, Ask]]:
    return lambda given: None, {
        "linear": lambda state, given: linear_addresses(given("matrix"), given("queries")),
        "gaussian": lambda state, given: gaussian_addresses(
            given("matrix"), given("queries"), alpha=0.5
        ),
    }


def hopfield() -> tuple[Fill, dict[str, Ask]]:
    memory = Hopfield()

    def fill(given: Inputs) -> Any:
        return memory.write(memory.empty(6), given("signs"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more signs"))

    def forget(state: Any, given: Inputs) -> Any:
        return memory.forget(write(state, given), given("more signs"))

    return fill, {
        "read": lambda state, given: memory.read(state, given("cues")),
        "energy": lambda state, given: memory.energy(state, given("queries")),
        "write": lambda state, given: memory.read(write(state, given), given("cues")),
        "forget": lambda state, given: memory.read(forget(state, given), given("cues")),
    }


def dense() -> tuple[Fill, dict[str, Ask]]:
    memory = DenseHopfield(0.5, steps=2)

    def fill(given: Inputs) -> Any:
        return memory.write(memory.empty(6), given("keys"))

    def write(state: Any, given: Inputs) -> Any:
        return memory.write(state, given("more keys"))

    return fill, {
        "read": lambda state, given: memory.read(state, given("queries")),
        "weights": lambda state, given: memory.weights(state, given("queries")),
        "energy": lambda state, given: memory.energy(state, given("queries")),
        "write": lambda state, given: memory.read(write(state, given), given("queries")),
    }


MEMORIES: dict[str, tuple[Fill, dict[str, Ask]]] = {
    "KeyValue": key_values(KeyValue(2, 0.5)),
    "KeyValue int8": key_values(KeyValue(), torch.int8),
    "Sharded": key_values(Sharded(KeyValue(2, 0.5))),
    "PseudoInverse": pseudo_inverse(),
    "Recursive": recursive(),
    "Kanerva": kanerva(),
    "Larimar": larimar(),
    "Larimar, M0": larimar_start(),
    "PublishedLarimar": published(),
    "addresses": addresses(),
    "Hopfield": hopfield(),
    "DenseHopfield": dense(),
}
every_memory = pytest.mark.parametrize("memory", MEMORIES)
# What `Sharded` does is `KeyValue`'s, but slower: it need not go through everything.
every_rule = pytest.mark.parametrize("memory", [name for name in MEMORIES if name != "Sharded"])


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Iterator[None]:
    """A group of this process alone, for `Sharded`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        # To ask the machine takes longer than all the rest.
        patch.setattr(rows, "available_bytes", lambda device: 2**30)
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def answer(ask: Ask, state: Any, given: Inputs) -> Tensor | str:
    """What is answered, or the word "refused"."""
    try:
        return ask(state, given)
    except ValueError:
        return "refused"


def same(found: Tensor | str, wanted: Tensor | str) -> bool:
    if isinstance(found, str) or isinstance(wanted, str):
        return isinstance(found, str) and isinstance(wanted, str)
    return found.dtype == wanted.dtype and torch.equal(found, wanted)


def answers(memory: str, state: Any, given: Inputs) -> dict[str, Tensor | str]:
    return {method: answer(ask, state, given) for method, ask in MEMORIES[memory][1].items()}


@functools.cache
def plain_answers(memory: str) -> dict[str, Tensor | str]:
    """What plain float32 gets."""
    return answers(memory, MEMORIES[memory][0](Inputs()), Inputs())


def differing(found: dict[str, Tensor | str], wanted: dict[str, Tensor | str]) -> list[str]:
    return [method for method in wanted if not same(found[method], wanted[method])]


# --- dtypes ---------------------------------------------------------------------------------------

NARROW = (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16)


def cast(dtype: torch.dtype, *more: torch.dtype) -> Callable[[Tensor], Tensor]:
    def form(numbers: Tensor) -> Tensor:
        for one in (dtype, *more):
            numbers = numbers.to(one)
        return numbers

    return form


@every_rule
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_any_dtype_is_answered_as_float32_is(memory: str, dtype: torch.dtype) -> None:
    """Bit for bit, in float32; asked in that dtype of a state that was, or was not, written in
    it."""
    fill, _ = MEMORIES[memory]
    as_it_is, as_float = cast(dtype), cast(dtype, torch.float32)
    found = answers(memory, fill(Inputs()), Inputs(as_it_is))
    assert differing(found, answers(memory, fill(Inputs()), Inputs(as_float))) == []
    try:
        wanted = answers(memory, fill(Inputs(as_float)), Inputs())
    except ValueError:
        with pytest.raises(ValueError):
            fill(Inputs(as_it_is))
    else:
        assert differing(answers(memory, fill(Inputs(as_it_is)), Inputs()), wanted) == []


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int16, torch.int32, torch.float8_e4m3fn], ids=str
)
@pytest.mark.parametrize("memory", ["Sharded", "Kanerva", "Larimar"])
def test_seldom_dtypes_too(memory: str, dtype: torch.dtype) -> None:
    test_any_dtype_is_answered_as_float32_is(memory, dtype)


@every_memory
@pytest.mark.parametrize("first", [torch.float32, torch.float64], ids=str)
def test_float64_is_answered_beside_float32(memory: str, first: torch.dtype) -> None:
    """State in one, questions in the other, or both in float64: the same to float32's digits."""
    fill, asks = MEMORIES[memory]
    wanted = plain_answers(memory)
    state = fill(Inputs(cast(first)))
    for method, ask in asks.items():
        found, right = ask(state, Inputs(cast(torch.float64))), wanted[method]
        assert isinstance(right, Tensor) and found.dtype in (torch.float32, torch.float64)
        assert torch.allclose(found.float(), right.float(), rtol=1e-3, atol=1e-4), method


def test_what_is_kept_is_read_in_its_own_dtype_or_float32() -> None:
    """Not in that of the question: a third is no whole number, nor is a small variance."""
    eye = torch.eye(3, dtype=torch.long)
    memory = Recursive(0.5)
    state = memory.write(memory.empty(3, 1), eye, torch.tensor([[3], [-3], [7]]))
    wanted = torch.tensor([[2.0], [-2.0], [14 / 3]])
    torch.testing.assert_close(memory.read(state, eye), wanted)
    bayes = Kanerva(0.1)
    seen = bayes.write(bayes.start(torch.zeros(3, 1)), eye[:1], torch.tensor([[1]]))
    wanted = torch.tensor([0.01 / 1.01, 1.0, 1.0])
    torch.testing.assert_close(bayes.variance(seen, eye), wanted)
    auto = Larimar()
    written = auto.write(auto.start(torch.eye(3)), 3 * eye[:2])
    torch.testing.assert_close(auto.read(written, eye[:2]), torch.eye(3)[:2])
    assert auto.novelty(written, eye).tolist() == [0, 0, 1]
    halves = linear_addresses(2 * eye, eye)
    assert torch.equal(halves, torch.eye(3) / 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: Hopfield().empty(3, dtype=dtype),
        lambda dtype: DenseHopfield().empty(3, dtype=dtype),
        lambda dtype: PseudoInverse().empty(3, 3, dtype=dtype),
        lambda dtype: KeyValue().empty(3, 3, dtype=dtype),
        lambda dtype: KeyValue().empty(3, 3, key_dtype=dtype),
    ],
)
def test_no_state_keeps_its_rows_in_whole_numbers(make: Callable[[torch.dtype], Any]) -> None:
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=f"expected .* in .*, got {dtype}"):
            make(dtype)


def test_a_state_by_hand_keeps_no_whole_numbers_either() -> None:
    keys, values, slot = torch.eye(3), torch.ones(3, 1), torch.arange(3)
    for parts in ((keys.long(), values, slot), (keys, values.int(), slot)):
        with pytest.raises(ValueError, match="expected rows in one of .*, got torch.int"):
            KeyValueState(*parts)
    with pytest.raises(WRONG):
        LarimarState(keys.long())


# --- whose the numbers are ------------------------------------------------------------------------


def strided(numbers: Tensor) -> tuple[Tensor, Tensor]:
    buffer = numbers.repeat_interleave(2, -1)
    return buffer, buffer[..., ::2]


def transposed(numbers: Tensor) -> tuple[Tensor, Tensor]:
    buffer = numbers.T.contiguous()
    return buffer, buffer.T


def expanded(numbers: Tensor) -> tuple[Tensor, Tensor]:
    buffer = numbers[:1].clone()
    return buffer, buffer.expand(numbers.shape)


def whole_tensor(numbers: Tensor) -> tuple[Tensor, Tensor]:
    buffer = numbers.clone()
    return buffer, buffer


@every_rule
@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (whole_tensor, torch.float32),
        (whole_tensor, torch.float64),
        (strided, torch.float32),
        (transposed, torch.int64),
        (expanded, torch.float64),
        (expanded, torch.float16),
    ],
)
def test_a_state_owns_what_it_holds(
    memory: str, form: Callable[[Tensor], tuple[Tensor, Tensor]], dtype: torch.dtype
) -> None:
    """What was given is overwritten before anything is read: inverses are made by the first
    read."""
    fill, _ = MEMORIES[memory]
    buffers = []

    def lent(numbers: Tensor) -> Tensor:
        if form is expanded and numbers.shape == (6, 6):
            return numbers.to(dtype)  # equal rows are no covariance
        buffer, view = form(numbers.to(dtype))
        buffers.append(buffer)
        return view

    def copied(numbers: Tensor) -> Tensor:
        return lent(numbers).clone()

    wanted = answers(memory, fill(Inputs(copied)), Inputs())
    buffers.clear()
    state = fill(Inputs(lent))
    for buffer in buffers:
        buffer.zero_()
    assert differing(answers(memory, state, Inputs()), wanted) == []


def tensors_of(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if not dataclasses.is_dataclass(state):
        return []
    parts = [getattr(state, part.name) for part in dataclasses.fields(state)]
    return [tensor for part in parts for tensor in tensors_of(part)]


@every_memory
def test_nothing_that_is_done_with_a_state_changes_it(memory: str) -> None:
    """Neither a later write nor the owner of an answer, who overwrites it; and the answers
    stay."""
    fill, _ = MEMORIES[memory]
    state = fill(Inputs())
    parts = [part.clone() for part in tensors_of(state)]
    first = answers(memory, state, Inputs())
    kept = {name: one.clone() if isinstance(one, Tensor) else one for name, one in first.items()}
    for one in first.values():
        assert isinstance(one, Tensor)
        one.fill_(7)
    assert differing(answers(memory, state, Inputs()), kept) == []
    assert all(map(torch.equal, tensors_of(state), parts))


def test_a_state_made_from_another_solves_its_own_pairs() -> None:
    memory = PseudoInverse()
    state = memory.write(memory.empty(2, 1), torch.eye(2), torch.ones(2, 1))
    memory.read(state, torch.eye(2))
    twice = dataclasses.replace(state, values=2 * state.values)
    torch.testing.assert_close(memory.read(twice, torch.eye(2)), torch.full((2, 1), 2.0))


# --- modes ----------------------------------------------------------------------------------------

MODES: dict[str, Callable[[], Any]] = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@every_memory
@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("inference", "plain"),
        ("inference", "autocast"),
        ("plain", "inference"),
        ("autocast", "no_grad"),
    ],
)
def test_a_state_may_be_written_in_one_mode_and_used_in_another(
    memory: str, written: str, asked: str
) -> None:
    """Then once more in the plain one, by questions that want gradients: bit for bit the same."""
    fill, _ = MEMORIES[memory]
    wanted = plain_answers(memory)
    with MODES[written]():
        state = fill(Inputs())
    with MODES[asked]():
        found = answers(memory, state, Inputs())
    assert differing(found, wanted) == []
    asking = Inputs(lambda numbers: numbers.float().requires_grad_())
    again = answers(memory, state, asking)
    assert differing(again, wanted) == []
    for one in again.values():
        if isinstance(one, Tensor) and one.requires_grad:
            one.sum().backward(retain_graph=True)


@every_memory
def test_inference_tensors_may_be_given(memory: str) -> None:
    fill, _ = MEMORIES[memory]
    wanted = plain_answers(memory)
    given = Inputs()
    with torch.inference_mode():
        for name in NUMBERS:
            given.taken[name] = NUMBERS[name].float().clone()
    state = fill(given)
    assert not any(part.is_inference() for part in tensors_of(state))
    assert differing(answers(memory, state, given), wanted) == []


@every_memory
def test_gradients_go_through_every_read(memory: str) -> None:
    """Through the second as through the first: an inverse that is kept must not keep a graph."""
    fill, asks = MEMORIES[memory]
    given = Inputs(lambda numbers: numbers.float().requires_grad_())
    state = fill(given)
    with torch.no_grad():
        answers(memory, state, given)
    for method, ask in asks.items():
        found = []
        for _ in range(2):
            result = ask(state, given)
            if not result.requires_grad:
                break
            leaves = list(given.taken.values())
            grads = torch.autograd.grad(result.sum(), leaves, retain_graph=True, allow_unused=True)
            found.append([grad for grad in grads if grad is not None])
        assert not found or all(map(torch.equal, *found)), method
        gradient = memory not in ("Hopfield", "Sharded") and "KeyValue" not in memory
        assert bool(found and found[0]) or not gradient, method


def test_a_learned_matrix_gets_its_gradient_after_a_look_without_one() -> None:
    memory = Larimar()
    patterns = NUMBERS["keys"].float().requires_grad_()
    state = memory.write(memory.start(NUMBERS["matrix"]), patterns)
    with torch.no_grad():
        memory.read(state, NUMBERS["queries"])
    memory.read(state, NUMBERS["queries"]).square().sum().backward()
    assert patterns.grad is not None and bool(patterns.grad.abs().sum() > 0)


# --- what is refused ------------------------------------------------------------------------------


def spoilt(value: float) -> Callable[[Tensor], Tensor]:
    def form(numbers: Tensor) -> Tensor:
        numbers = numbers.float()
        numbers.view(-1)[-1] = value
        return numbers

    return form


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "NaN": spoilt(float("nan")),
    "infinity": spoilt(float("inf")),
    "meta": lambda numbers: numbers.float().to("meta"),
    "sparse": lambda numbers: numbers.float().to_sparse(),
    "complex": lambda numbers: numbers.to(torch.complex64),
}


def refused(memory: str, form: Callable[[Tensor], Any], kind: Any) -> list[tuple[str, str]]:
    """Every method and every input of it, in turn in that form: those that were not refused."""
    fill, asks = MEMORIES[memory]
    state = fill(Inputs())
    calls: dict[str, Ask] = {"fill": lambda state, given: fill(given), **asks}
    left = []
    for method, ask in calls.items():
        used = Inputs()
        ask(state, used)
        for name in used.taken:
            try:
                ask(state, Inputs(form, only=name))
                left.append((method, name))
            except kind:
                pass
    return left


@every_memory
@pytest.mark.parametrize("form", REFUSED)
def test_no_number_that_is_none_gets_in(memory: str, form: str) -> None:
    assert refused(memory, REFUSED[form], ValueError) == []


@every_memory
def test_no_other_width_gets_in(memory: str) -> None:
    """But where the input itself decides on the width."""

    def wider(numbers: Tensor) -> Tensor:
        return torch.cat([numbers, numbers[..., :1]], -1).float()

    free = {"fill": {"matrix", "mean"}, "start": {"mean"}, "iterate_inverse": {"matrix"}}
    free["iteration_residual"] = {"lengths"}
    left = refused(memory, wider, WRONG)
    assert [(method, name) for method, name in left if name not in free.get(method, ())] == []


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Tensor.tolist, "expected rows as a tensor, got list"),
        (Tensor.numpy, "expected rows as a tensor, got ndarray"),
        (lambda rows: rows[0], r"rows must have shape \(rows, 6\), got \(6,\)"),
        (lambda rows: rows[None], r"rows must have shape \(rows, 6\), got \(1, 5, 6\)"),
        (lambda rows: rows.sum(), r"rows must have shape \(rows, 6\), got \(\)"),
        (lambda rows: rows.T, r"rows must have shape \(rows, 6\), got \(6, 5\)"),
    ],
)
def test_what_is_no_matrix_is_named(form: Callable[[Tensor], Any], said: str) -> None:
    """What all memories take their numbers with; past the hook, which users do not have."""
    take = inspect.unwrap(checks.as_rows)
    with pytest.raises(WRONG) as problem:
        take("rows", form(NUMBERS["keys"]), 6)
    assert not isinstance(problem.value, ValueError) or problem.match(said)


def test_mistakes_with_shared_rows_are_named() -> None:
    memory = Sharded()
    state = memory.write(memory.empty(3, 1), torch.eye(3), torch.ones(3, 1))
    two = torch.tensor([1, 0], dtype=torch.uint8)
    for call, said in (
        (lambda: memory.first(state, -1), "expected count from 0 to 3, got -1"),
        (lambda: memory.first(state, 4), "expected count from 0 to 3, got 4"),
        (lambda: memory.take(state, torch.tensor([-1])), "expected rows from 0 to 2, got"),
        (lambda: memory.forget(state, torch.ones(3, dtype=torch.bool)), "rows as whole numbers"),
        (lambda: memory.forget(state, torch.tensor([0.5])), "rows as whole numbers"),
        (
            lambda: memory.write(state, torch.eye(3)[:2], torch.ones(2, 1), rows=two),
            "expected 2 ascending rows",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    left = memory.forget(state, torch.tensor([]))
    assert len(left) == 3 and torch.equal(memory.take(left, two), torch.ones(2, 1))
