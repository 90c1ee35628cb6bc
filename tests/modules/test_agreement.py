import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from partwise.cuttree import cut_tree
from partwise.graph import UnitGraph
from partwise.modules.agreement import (
    adjusted_mutual_information,
    adjusted_rand,
    dendrogram_purity,
    stability,
)
from partwise.modules.scores import n_cut, nontrivial_frac


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, 60)
    b = np.where(rng.random(60) < 0.5, a, rng.integers(0, 3, 60))
    assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert adjusted_mutual_information(a, b) == pytest.approx(adjusted_mutual_info_score(a, b))


def test_equal_partitions_agree_whatever_their_numbers():
    a, b = np.array([0, 0, 1, 2]), np.array([5, 5, 0, 1])
    assert adjusted_rand(a, b) == adjusted_mutual_information(a, b) == pytest.approx(1)
    one = np.zeros(4, np.int64)
    assert adjusted_rand(one, one) == adjusted_mutual_information(one, one) == 1
    assert stability([a, b, a]) == pytest.approx(1)


def test_dendrogram_purity_by_hand():
    pieces, truth = np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1])
    right = [(0, 1, 0.0), (2, 3, 0.0), (4, 5, 0.0)]
    assert dendrogram_purity(pieces, right, truth) == 1
    # units 0 and 2 meet first, then 1, then 3: class 0 meets in a set of three (2/3 pure),
    # class 1 in the root (1/2); mean 7/12
    wrong = [(0, 2, 0.0), (4, 1, 0.0), (5, 3, 0.0)]
    assert dendrogram_purity(pieces, wrong, truth) == pytest.approx(7 / 12)
    # units without a class do not count
    assert dendrogram_purity(pieces, wrong, np.array([0, 0, -1, -1])) == 1


def test_n_cut_by_hand():
    graph = UnitGraph.from_edges(4, [0, 2, 1], [1, 3, 2], [3.0, 4.0, 1.0])
    # one edge of 1 leaves volumes of 7 and 9
    assert n_cut(graph, np.array([0, 0, 1, 1])) == pytest.approx(1 / 7 + 1 / 9)


def test_nontrivial_share_of_two_cliques():
    u, v = np.triu_indices(8, 1)
    two = UnitGraph.from_edges(8, u, v, np.where((u < 4) == (v < 4), 1.0, 0.01))
    assert nontrivial_frac(cut_tree(two)) == pytest.approx(1 / 7)
    assert nontrivial_frac(cut_tree(two.with_capacities(np.ones(two.m)))) == 0
