"""The network that programs are compiled to: an ordinary transformer without normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a `SequenceTransformer`.

    Attributes:
        vocabulary: number of tokens.
        context: longest sequence, the start token included.
        width: residual channels.
        heads: attention heads per block.
        head_width: channels of a head.
        neurons: neurons of each block's MLP.
        causal: whether no position sees a later one.
    """

    vocabulary: int
    context: int
    width: int
    heads: int
    head_width: int
    neurons: tuple[int, ...]
    causal: bool


class Unscaled(nn.RMSNorm):
    """Stands where others normalise, and changes nothing; its gain is 1 and stays so."""

    def __init__(self, width: int):
        super().__init__(width)
        self.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        return x


class Block(nn.Module):
    """Attention, then an MLP with ReLU; both add to the residual."""

    def __init__(self, config: TransformerConfig, neurons: int):
        super().__init__()
        d, inner = config.width, config.heads * config.head_width
        self.heads, self.causal = config.heads, config.causal
        self.attention_norm, self.mlp_norm = Unscaled(d), Unscaled(d)
        self.query, self.key, self.value = (nn.Linear(d, inner) for _ in range(3))
        self.mix = nn.Linear(inner, d)
        self.up, self.down = nn.Linear(d, neurons), nn.Linear(neurons, d)

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, width) -> (b, t, width)."""
        h = self.attention_norm(x)
        q, k, v = (self._split(layer(h)) for layer in (self.query, self.key, self.value))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.mix(heads.transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.mlp_norm(x))))

    def _split(self, x: Tensor) -> Tensor:
        """(b, t, heads * c) -> (b, heads, t, c)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class SequenceTransformer(nn.Module):
    """Reads token ids (b, t), the first a start token; gives logits (b, t, vocabulary)."""

    def __init__(self, config: TransformerConfig, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(config.vocabulary, config.width)
            self.positions = nn.Embedding(config.context, config.width)
            self.blocks = nn.ModuleList(Block(config, each) for each in config.neurons)
            self.norm = Unscaled(config.width)
            self.outputs = nn.Linear(config.width, config.vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, t) token ids -> (b, t, vocabulary) logits."""
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.outputs(self.norm(x))
