"""Files of fitted models: arrays and a config in one safetensors file with a format version, never pickle."""

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
    """The metadata of a model file."""

    model: str
    format: str
    config: dict[str, Any]


def save_model(directory: Path, name: str, config: Any, arrays: dict[str, Array]) -> None:
    """Write the arrays and the config dataclass of the model called `name`; equal models give equal bytes."""
    header = {"model": name, "format": FORMAT, "config": asdict(config)}
    # One entry, because safetensors writes several entries in random order.
    metadata = {HEADER: json.dumps(header, sort_keys=True)}
    with atomic_write(directory / FILE) as temporary:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, temporary, metadata)


def load_model(directory: Path, name: str, config: type[C]) -> tuple[C, dict[str, Array]]:
    """Read the config and the arrays that `save_model` wrote; raise `ModelError` for any other file."""
    path = directory / FILE
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(HEADER, "")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is not iterable)
        header = TypeAdapter(Header).validate_json(text)
        if (header.model, header.format) != (name, FORMAT):
            content = f"model {header.model} in format {header.format}"
            raise ModelError(f"{path}: holds {content}; expected {name} in {FORMAT}")
        return TypeAdapter(config).validate_python(header.config), arrays
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        raise ModelError(f"{path}: is not a model file: {error.errors()[0]['msg']}") from None


def sparse_arrays(name: str, matrix: csr_matrix) -> dict[str, Array]:
    """Return the arrays of a CSR matrix under keys that start with `name`."""
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
        f"{name}.shape": np.array(matrix.shape),
    }


def sparse_matrix(name: str, arrays: dict[str, Array]) -> csr_matrix:
    """Return the CSR matrix of the arrays that `sparse_arrays` returned under `name`."""
    rows, columns = (int(size) for size in arrays[f"{name}.shape"])
    parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, shape=(rows, columns))


def check_finite(name: str, **arrays: Array) -> None:
    """Raise `ModelError` when a fitted array holds NaN or infinity."""
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise not_finite_error(name, key)


def not_finite_error(name: str, array_name: str) -> ModelError:
    """Return the error of a fit that gave NaN or infinity."""
    return ModelError(
        f"{name}: the fit gave {array_name} that are not finite; use less extreme settings, or more regularization"
    )
