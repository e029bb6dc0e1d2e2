from scipy.sparse import coo_matrix, csr_matrix, spmatrix

class ItemItemRecommender:
    similarity: csr_matrix
    def __init__(self, K: int = ..., num_threads: int = ...) -> None: ...  # noqa: N803
    def fit(self, weighted: csr_matrix, show_progress: bool = ...) -> None: ...

def bm25_weight(X: spmatrix, K1: float = ..., B: float = ...) -> coo_matrix: ...  # noqa: N803
