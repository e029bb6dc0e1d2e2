import numpy as np
import pytest
from numba.core import config
from scipy.sparse import csr_matrix

from recsys.evaluation.metrics.ranking import evaluate_lists

USERS, ITEMS, CUTOFFS = 200, 60, (1, 5, 20)


@pytest.mark.filterwarnings("ignore")
def test_metrics_agree_with_ranx(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config, "DISABLE_JIT", True)  # compiling takes a minute, running a moment
    from ranx import Qrels, Run, evaluate

    generator = np.random.default_rng(3)
    lists = np.array([generator.permutation(ITEMS)[: max(CUTOFFS)] for _ in range(USERS)], dtype=np.int32)
    relevant = csr_matrix((generator.random((USERS, ITEMS)) < 0.1).astype(np.float32))
    unknown = 1 + generator.integers(0, 3, USERS)
    counts = relevant.getnnz(axis=1) + unknown

    qrels = {
        str(user): {str(item): 1 for item in relevant[user].indices}
        | {f"unknown{number}": 1 for number in range(unknown[user])}
        for user in range(USERS)
    }
    run = {str(user): {str(item): float(-place) for place, item in enumerate(lists[user])} for user in range(USERS)}
    ours = evaluate_lists(lists, relevant, counts, CUTOFFS)
    names = [
        f"{metric}@{k}"
        for metric in ("recall", "precision", "f1", "ndcg", "map", "mrr", "hit_rate")
        for k in CUTOFFS
    ]
    theirs = evaluate(Qrels(qrels), Run(run), names, make_comparable=True)
    assert {name: ours[name].mean() for name in names} == pytest.approx(theirs, abs=1e-6)
