"""Fitted models on disk: arrays and a config in one safetensors file with a format version; never pickle."""

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from recsys.errors import ModelError
from recsys.files import written_whole

FILE = "model.safetensors"
FORMAT = "1"

C = TypeVar("C")
Array = NDArray[Any]


def save_model(directory: Path, name: str, config: Any, arrays: dict[str, Array]) -> None:
    """Write the arrays and the config dataclass of the model called `name`."""
    metadata = {"model": name, "format": FORMAT, "config": json.dumps(vars(config), sort_keys=True)}
    with written_whole(directory / FILE) as aside:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, aside, metadata)


def load_model(directory: Path, name: str, config: type[C]) -> tuple[C, dict[str, Array]]:
    """The config and the arrays that `save_model` wrote; raises `ModelError` when they are not what is asked."""
    path = directory / FILE
    try:
        arrays = load_file(path)
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    found = metadata.get("model"), metadata.get("format")
    if found != (name, FORMAT):
        raise ModelError(f"{path}: holds model {found[0]} in format {found[1]}; expected {name} in {FORMAT}")
    return TypeAdapter(config).validate_json(metadata["config"]), arrays


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
            raise ModelError(f"{name}: the fit gave {key} that are not finite; lower the learning rate or factors")
