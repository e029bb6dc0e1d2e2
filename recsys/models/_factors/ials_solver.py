"""Solver of `Ials`: the vectors of one side are updated while those of the other are fixed."""

import numpy as np
from scipy.sparse import csr_matrix

from recsys.ranking.factor_index import Factors


def minimize_rows(
    binary: csr_matrix, others: Factors, gram: Factors, penalties: Factors, steps: int, vectors: Factors
) -> None:
    """Lower the loss over the vectors (rows, factors) by `steps` of conjugate gradient, in place.

    `binary` (rows, columns) is 1 for an interaction, `others` (columns, factors) are the vectors of the columns,
    `gram` their Gram matrix times the weight of an unobserved pair, `penalties` (rows,) those of the rows. A row
    without entries becomes 0.
    """
    from recsys.models._factors.ials_products import add_observed  # numba takes long to import

    offsets, columns = binary.indptr.astype(np.int64), binary.indices.astype(np.int32)

    def curvature(directions: Factors) -> Factors:
        """Multiply the direction of each row by the row's Hessian matrix."""
        products = (directions @ gram + penalties[:, None] * directions).astype(np.float32, copy=False)
        add_observed(offsets, columns, others, directions, products)
        return products

    vectors[np.diff(offsets) == 0] = 0
    residuals: Factors = binary @ others - curvature(vectors)
    directions = residuals.copy()
    squares = _squares(residuals)
    for _ in range(steps):
        products = curvature(directions)
        lengths = _divide(squares, (directions * products).sum(1))[:, None]
        vectors += lengths * directions
        residuals -= lengths * products
        previous, squares = squares, _squares(residuals)
        directions *= _divide(squares, previous)[:, None]
        directions += residuals


def _squares(vectors: Factors) -> Factors:
    """Compute the squared norm of each row, (rows,)."""
    return np.square(vectors).sum(1, dtype=np.float32)


def _divide(numerators: Factors, denominators: Factors) -> Factors:
    """Divide (rows,) by (rows,); where both are 0, the row is at its minimum, and the quotient is 0."""
    safe = np.where((numerators == 0) & (denominators == 0), 1, denominators)
    return (numerators / safe).astype(np.float32, copy=False)
