"""What ours is compared with, each written from the work that it cites: terms, weights, starts."""

from benchmarks.peers.pressures import (
    adjacency,
    bimt_penalty,
    bimt_swaps,
    clusterability,
    even_blocks,
    even_positions,
    soft_newman_q,
    spectral_blocks,
    spectral_n_cut,
    wiring,
)
from benchmarks.peers.weights import (
    keep_only,
    modular_start,
    pruned_share,
    top_weights,
    true_blocks,
)

__all__ = [
    "adjacency",
    "bimt_penalty",
    "bimt_swaps",
    "clusterability",
    "even_blocks",
    "even_positions",
    "keep_only",
    "modular_start",
    "pruned_share",
    "soft_newman_q",
    "spectral_blocks",
    "spectral_n_cut",
    "top_weights",
    "true_blocks",
    "wiring",
]
