"""Fitted models on disk: arrays and a config in one safetensors file with a format version; never pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix

from recsys.errors import ModelError
from recsys.files import atomic_write

FILE = "model.safetensors"
FORMAT = "1"
HEADER = "recsys"

C = TypeVar("C")
Array = NDArray[Any]


@dataclass(frozen=True)
class Header:
    """What a model file says of itself."""

    model: str
    format: str
    config: dict[str, Any]


def save_model(directory: Path, name: str, config: Any, arrays: dict[str, Array]) -> None:
    """Write the arrays and the config dataclass of the model called `name`; equal ones give equal bytes."""
    header = {"model": name, "format": FORMAT, "config": asdict(config)}
    # One entry, because safetensors writes several in random order.
    metadata = {HEADER: json.dumps(header, sort_keys=True)}
    with atomic_write(directory / FILE) as aside:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, aside, metadata)


def load_model(directory: Path, name: str, config: type[C]) -> tuple[C, dict[str, Array]]:
    """The config and the arrays that `save_model` wrote; raises `ModelError` when they are not what is asked."""
    path = directory / FILE
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(HEADER, "")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = TypeAdapter(Header).validate_json(text)
        if (header.model, header.format) != (name, FORMAT):
            found = f"model {header.model} in format {header.format}"
            raise ModelError(f"{path}: holds {found}; expected {name} in {FORMAT}")
        return TypeAdapter(config).validate_python(header.config), arrays
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        raise ModelError(f"{path}: is not a model file: {error.errors()[0]['msg']}") from None


def sparse_arrays(name: str, matrix: csr_matrix) -> dict[str, Array]:
    """The arrays of a CSR matrix, each under `name` and what it holds."""
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
        f"{name}.shape": np.array(matrix.shape),
    }


def sparse_matrix(name: str, arrays: dict[str, Array]) -> csr_matrix:
    """The CSR matrix whose arrays `sparse_arrays` gave under `name`."""
    rows, columns = (int(size) for size in arrays[f"{name}.shape"])
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=(rows, columns))


def check_finite(name: str, **arrays: Array) -> None:
    """Raise `ModelError` when a fitted array holds NaN or infinity."""
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise not_finite_error(name, key)


def not_finite_error(name: str, what: str) -> ModelError:
    """The error of a fit that ended in NaN or infinity."""
    return ModelError(
        f"{name}: the fit gave {what} that are not finite; use less extreme settings, or more regularization"
    )
