import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

class AlternatingLeastSquares:
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    def __init__(
        self,
        *,
        factors: int = ...,
        regularization: float = ...,
        alpha: float = ...,
        iterations: int = ...,
        random_state: int | None = ...,
    ) -> None: ...
    def fit(self, user_items: csr_matrix, show_progress: bool = ...) -> None: ...
    def recommend(
        self,
        userid: NDArray[np.int32],
        user_items: csr_matrix,
        N: int = ...,  # noqa: N803
        filter_already_liked_items: bool = ...,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]: ...
