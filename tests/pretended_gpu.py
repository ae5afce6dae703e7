"""A GPU that is pretended: tensors that say they lie on the device "gpu:0", and compute on the CPU.

They mix with tensors of the CPU as those of CUDA do: not at all, but for numbers alone, indices,
and copies. So a tensor that was made on the wrong device raises where there is no GPU, and all that
depends on numbers (`.item()`, `.tolist()`, the length of an answer) goes on as it would: FakeTensor
and the meta device, which hold no numbers, could not tell. What it cannot show: memory, speed,
rounding, and kernels that a GPU lacks.

`install()` registers the device with torch for the whole process: do it in one of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "gpu"
DEVICE = f"{NAME}:0"
aten = torch.ops.aten
COPIES = {aten.copy_.default, aten._to_copy.default}  # whatever comes from where
READS = {aten.index.Tensor, aten._unsafe_index.Tensor}
WRITES = {
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index_put.default,
}


class There(Tensor):
    """A tensor on the pretended device; `here` holds its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(DEVICE),
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:
        return f"There({self.here})"

    def tolist(self) -> Any:
        """As of any other tensor."""
        return self.here.tolist()

    def numpy(self, **_: Any) -> Any:
        """Refused, as on CUDA."""
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy: use Tensor.cpu()")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, types, args, kwargs or {})


def _mismatch(func: Any) -> RuntimeError:
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{DEVICE} and cpu! ({func})"
    )


def _parts(args: Any) -> Iterator[Any]:
    """What stands among arguments, and in lists among them."""
    for part in args:
        if isinstance(part, list | tuple):
            yield from _parts(part)
        else:
            yield part


def _is_here(part: Any) -> bool:
    """Whether it is a tensor of another device, and more than a number alone."""
    return isinstance(part, Tensor) and not isinstance(part, There) and part.ndim > 0


def _goes_there(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the result lies on the pretended device; RuntimeError for tensors that do not mix."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == NAME
    if func in COPIES:
        return isinstance(args[0], There)
    if func in READS or func in WRITES:
        own = isinstance(args[0], There)
        if not own and any(isinstance(index, There) for index in args[1]):
            raise RuntimeError(f"indices should be on the CPU, as what they index: {func}")
        if func in WRITES and (_is_here(args[2]) if own else isinstance(args[2], There)):
            raise _mismatch(func)
        return own
    parts = list(_parts((args, tuple(kwargs.values()))))
    there = any(isinstance(part, There) for part in parts)
    if there and any(map(_is_here, parts)):
        raise _mismatch(func)
    return there


@functools.cache
def _aliases(func: Any) -> bool:
    """Whether what a function returns may be one of its arguments, or a view of it."""
    schema = func._schema
    return any(part.alias_info is not None for part in (*schema.arguments, *schema.returns))


def _computed(func: Any, types: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    device = kwargs.get("device")
    asked = device is not None and torch.device(device).type == NAME
    if There not in types and not asked:
        return func(*args, **kwargs)
    there = _goes_there(func, args, kwargs)
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a {NAME!r} device type for generator but found 'cpu'")
    own_args, own_kwargs = pytree.tree_map_only(There, lambda x: x.here, (args, kwargs))
    if asked:
        own_kwargs["device"] = torch.device("cpu")
    found = func(*own_args, **own_kwargs)
    if not there:
        return args[0] if func is aten.copy_.default else found
    found = pytree.tree_map_only(Tensor, There, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if _aliases(func) else found


class Pretence(TorchDispatchMode):
    """A block in which tensors can be made on the pretended device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See the module."""
        return _computed(func, types, args, kwargs or {})


class _Module(_DummyBackendModule):
    """What torch wants to know of a device, `torch.gpu`."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def install() -> None:
    """Register the device. Modules that move there keep the identity of their weights, and so
    their ties, as on CUDA."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) then asks the mode
    torch.__future__.set_swap_module_params_on_conversion(True)
