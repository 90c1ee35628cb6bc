"""Decision trees with few leaves, for classes and for values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from partwise.programs.fit.forms import form
from partwise.programs.fit.numbers import gap_below, rounded
from partwise.programs.fit.table import Array, Table, Target

LEAVES = (2, 3, 4, 6, 8, 12, 16)


@form("tree", is_last_resort=True)
def propose_trees(table: Table, target: Target) -> Iterator[str]:
    """Trees of growing size."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if not table.numbers:
        return
    if not target.is_value and not 2 <= len(target.classes) <= len(target.values) // 4:
        return
    kind = DecisionTreeRegressor if target.is_value else DecisionTreeClassifier
    names = [column.text for column in table.numbers]
    for leaves in LEAVES:
        fitted = kind(max_leaf_nodes=leaves, min_samples_leaf=2, random_state=0)
        fitted.fit(table.matrix, target.values)
        yield _text(fitted.tree_, 0, table.matrix, names, target)


def _text(tree: Any, node: int, x: Array, names: Sequence[str], target: Target) -> str:
    """A tree as nested conditionals; leaves that agree are one."""
    if tree.children_left[node] < 0:
        return _leaf(tree, node, target)
    low, high = (
        _text(tree, child[node], x, names, target)
        for child in (tree.children_left, tree.children_right)
    )
    if low == high:
        return low
    feature = tree.feature[node]
    cut = gap_below(x[:, feature], float(tree.threshold[node]))
    return f"({low} if {names[feature]} <= {cut:.6g} else {high})"


def _leaf(tree: Any, node: int, target: Target) -> str:
    if target.is_value:
        return f"{rounded(float(tree.value[node].item()), 3):g}"
    return target.spelled(float(target.classes[tree.value[node][0].argmax()]))
