"""What is read off the capacities between modules, as a matrix of torch's."""

from __future__ import annotations

from torch import Tensor


def newman_q_of_masses(masses: Tensor) -> Tensor:
    """Newman's Q of a (k, k) matrix of module masses, differentiable; 0 for one module.

    In closed form, with its derivatives, it is `press_kernels.q_and_table`.
    """
    symmetric = masses + masses.T
    total = symmetric.sum()
    volume = symmetric.sum(1) / total
    return symmetric.trace() / total - (volume**2).sum()


def interface_share(masses: Tensor) -> Tensor:
    """Share of all capacity that joins two different modules, of a (k, k) mass matrix."""
    return 1 - masses.trace() / masses.sum()
