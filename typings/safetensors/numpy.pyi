from pathlib import Path
from typing import Any

from numpy.typing import NDArray

def save_file(tensor_dict: dict[str, NDArray[Any]], filename: Path, metadata: dict[str, str]) -> None: ...
