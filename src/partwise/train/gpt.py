"""A small GPT, written to be read: the model that Partwise trains from scratch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a `GPT`.

    Attributes:
        vocabulary: number of tokens.
        context: longest sequence.
        width: residual channels.
        heads: attention heads per block; divides `width`.
        layers: number of blocks.
    """

    vocabulary: int
    context: int = 32
    width: int = 64
    heads: int = 4
    layers: int = 2


class Block(nn.Module):
    """Attention, then an MLP, each read through a normalisation and added to the residual."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.attention_norm = nn.RMSNorm(d)
        self.query, self.key, self.value, self.mix = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.mlp_norm = nn.RMSNorm(d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, width) -> (b, t, width)."""
        h = self.attention_norm(x)
        q, k, v = (self._split(layer(h)) for layer in (self.query, self.key, self.value))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(heads.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))

    def _split(self, x: Tensor) -> Tensor:
        """(b, t, width) -> (b, heads, t, width / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class GPT(nn.Module):
    """A decoder-only transformer; reads token ids (b, t), gives logits (b, t, vocabulary).

    Args:
        config: its sizes.
        seed: seed of the weights; the global generator is left alone.
    """

    def __init__(self, config: GPTConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(config.vocabulary, config.width)
            self.positions = nn.Embedding(config.context, config.width)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
            self.norm = nn.RMSNorm(config.width)
            self.outputs = nn.Linear(config.width, config.vocabulary, bias=False)
            nn.init.normal_(self.tokens.weight, std=0.1)
            nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, t) token ids -> (b, t, vocabulary) logits."""
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.outputs(self.norm(x))
