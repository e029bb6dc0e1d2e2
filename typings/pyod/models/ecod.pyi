import numpy as np
from numpy.typing import NDArray

class ECOD:
    O: NDArray[np.float64]
    decision_scores_: NDArray[np.float64]
    def __init__(self, contamination: float = ..., n_jobs: int = ...) -> None: ...
    def fit(self, X: NDArray[np.float64]) -> ECOD: ...  # noqa: N803
