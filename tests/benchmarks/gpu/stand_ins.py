"""Stand-ins for libraries that a machine with a GPU may lack, as far as the measured code uses them.

The measured code is the engine's own. It needs torch, numpy, scipy and polars; of the other libraries that it
imports, it uses here only what is below: types of settings, which are not checked, a sparse product, loops to
compile, which run as Python, and limits of threads.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from torch import Tensor, nn


class LGConv(nn.Module):
    """The sparse product of a normalized adjacency with embeddings, as torch-geometric's class computes it."""

    def __init__(self, *, normalize: bool) -> None:
        super().__init__()
        assert not normalize

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """Multiply (nodes, nodes) by (nodes, size)."""
        return adjacency @ nodes


class _Ignored:
    """An object that stands for types, validators and their arguments, none of which is used."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "_Ignored":
        return self

    def __class_getitem__(cls, _: Any) -> type["_Ignored"]:
        return cls


def _ignored_type(name: str) -> type[_Ignored]:
    if name.startswith("__"):  # of the module itself
        raise AttributeError(name)
    return _Ignored


class _IgnoredError(Exception):
    pass


def _njit(*functions: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    return functions[0] if functions else lambda function: function


def _dataclass(*classes: type[Any], config: Any = None, **options: Any) -> Any:  # noqa: ARG001 (pydantic's argument)
    return dataclass(*classes, **options)


def _without_effect(*_: Any, **__: Any) -> Any:
    return nullcontext()


STAND_INS: Final[dict[str, dict[str, Any]]] = {
    "pydantic": {"ValidationError": _IgnoredError, "__getattr__": _ignored_type},
    "pydantic.dataclasses": {"dataclass": _dataclass},
    "pydantic_core": {"PydanticCustomError": _IgnoredError},
    "torch_geometric": {},
    "torch_geometric.nn": {"LGConv": LGConv},
    "numba": {"njit": _njit},
    "threadpoolctl": {"threadpool_limits": _without_effect},
    "safetensors": {"SafetensorError": _IgnoredError, "safe_open": _without_effect},
    "safetensors.numpy": {"save_file": _without_effect},
}


def install_stand_ins() -> list[str]:
    """Install stand-ins for the libraries that are missing, and return their names."""
    missing = [name for name in STAND_INS if "." not in name and not _is_installed(name)]
    for name, contents in STAND_INS.items():
        if name.partition(".")[0] in missing:
            module = ModuleType(name)
            vars(module).update(contents)
            sys.modules[name] = module
    return missing


def _is_installed(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True
