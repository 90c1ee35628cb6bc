# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
"""Compiled passes over one weight tensor, for `press`; they see it as an (r, e) matrix.

Divisions follow numpy's rules: Python's, which look for zeros, would keep loops from running on
vectors.
"""

from __future__ import annotations

import numpy as np

from partwise.compiled import compiled


@compiled(error_model="numpy")
def disorder_of(masses, disorder, interface, shares, tables):
    """Cost of 1 - Q of the (tensors, k, k) masses; derivatives by capacity go into `tables`."""
    q, slope = q_and_table(masses.sum(0))
    tables[:] = interface * shares - disorder * slope
    return disorder * (1 - q)


@compiled(error_model="numpy")
def add_masses(weight, row, column, row_scale, column_scale, masses):
    """Adds the capacities of a matrix to (k, k) `masses`.

    Rows of one module are added up first: that loop is over consecutive entries only.
    """
    r, e = weight.shape
    k = len(masses)
    by_column = np.zeros((k, e), weight.dtype)
    for i in range(r):
        scale, sums, entries = row_scale[i], by_column[row[i]], weight[i]
        for j in range(e):
            sums[j] += scale * abs(entries[j])
    for a in range(k):
        for j in range(e):
            masses[a, column[j]] += by_column[a, j] * column_scale[j]


@compiled(error_model="numpy")
def write_gradient(weight, row, column, row_scale, column_scale, table, each, slope):
    """Writes into `slope` (r, e) the derivative by the entries of a matrix.

    Args:
        weight, row, column, row_scale, column_scale: as in `add_masses`.
        table: (k, k) derivative by capacity.
        each: derivative by an entry's magnitude, beside that.
        slope: receives the result.

    Returns:
        The sum of the products of entries and derivatives.
    """
    r, e = weight.shape
    lookup = np.empty((len(table), e), weight.dtype)
    for a in range(len(table)):
        for j in range(e):
            lookup[a, j] = table[a, column[j]] * column_scale[j]
    own, sums = np.array([each]).astype(weight.dtype)[0], np.zeros(e, weight.dtype)
    for i in range(r):
        scale, entries, slopes, out = row_scale[i], weight[i], lookup[row[i]], slope[i]
        for j in range(e):
            out[j] = (own + scale * slopes[j]) * np.sign(entries[j])
            sums[j] += out[j] * entries[j]
    return np.float64(sums.sum())


@compiled(error_model="numpy")
def write_magnitude_gradient(weight, each, slope):
    """`write_gradient` without modules."""
    r, e = weight.shape
    own, sums = np.array([each]).astype(weight.dtype)[0], np.zeros(e, weight.dtype)
    for i in range(r):
        entries, out = weight[i], slope[i]
        for j in range(e):
            out[j] = own * np.sign(entries[j])
            sums[j] += out[j] * entries[j]
    return np.float64(sums.sum())


@compiled(error_model="numpy")
def q_and_table(masses):
    """Newman's Q, and the (k, k) table of its derivatives by capacity.

    With total t, inside share s and volumes v: Q = s - sum v^2, and a capacity from module b to
    module a changes it by 2 ([a = b] - s - v_a - v_b + 2 sum v^2) / t.
    """
    k = len(masses)
    total = 2 * masses.sum()
    volume, inside = np.zeros(k), 2 * np.trace(masses) / total
    for a in range(k):
        volume[a] = (masses[a].sum() + masses[:, a].sum()) / total
    squares = (volume**2).sum()
    table = np.empty((k, k))
    for a in range(k):
        for b in range(k):
            table[a, b] = 2 * ((a == b) - inside - volume[a] - volume[b] + 2 * squares) / total
    return inside - squares, table
