import numpy as np
from numpy.typing import NDArray

class IForest:
    def __init__(
        self, *, n_estimators: int = ..., max_samples: int = ..., n_jobs: int = ..., random_state: int = ...
    ) -> None: ...
    def fit(self, X: NDArray[np.float32]) -> IForest: ...  # noqa: N803
    def decision_function(self, X: NDArray[np.float32]) -> NDArray[np.float64]: ...  # noqa: N803
