"""Reading a transformer: which units its weight tensors join.

Decoder-only language models are recognised by the name of their class, so nothing is imported
that made them. Units are tokens, residual channels (one set for all layers), attention heads and
MLP neurons. A token is one unit where it is read and where it is predicted, whether or not the
model ties their weights. Softmax couples a head's channels, so a head is never split; query heads
that share their keys and values are one unit, since no weight stands between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from partwise.errors import UnreadableModelError
from partwise.graph.unit_graph import UnitGroup
from partwise.graph.unit_map import Gain, NormGain, UnitMap, WeightBlock

Vocabulary = Literal["each", "one", "none"]


@dataclass(frozen=True)
class Layout:
    """Where an architecture keeps its weights; module names, those of a block relative to it.

    Attributes:
        tokens: the embedding table.
        blocks: the list of blocks.
        norm: the last normalisation.
        outputs: the layer that gives the logits; names of different library versions.
        heads: the config's attribute that counts heads with keys and values of their own.
        attention_norm: what the attention reads through.
        attention_in: layers that write queries, keys and values.
        copies: how often such a layer runs through all heads, one after the other (3 where
            queries, keys and values are stacked).
        attention_out: the layer that reads the heads.
        mlp_norm: what the MLP reads through.
        mlp_in: layers that write the MLP's neurons; two for a gated MLP.
        mlp_out: the layer that reads them.
    """

    tokens: str
    blocks: str
    norm: str
    outputs: tuple[str, ...]
    heads: str
    attention_norm: str
    attention_in: tuple[str, ...]
    attention_out: str
    mlp_norm: str
    mlp_in: tuple[str, ...]
    mlp_out: str
    copies: int = 1


GPT2 = Layout(
    tokens="transformer.wte",
    blocks="transformer.h",
    norm="transformer.ln_f",
    outputs=("lm_head",),
    heads="n_head",
    attention_norm="ln_1",
    attention_in=("attn.c_attn",),
    attention_out="attn.c_proj",
    mlp_norm="ln_2",
    mlp_in=("mlp.c_fc",),
    mlp_out="mlp.c_proj",
    copies=3,
)
GPT_NEOX = Layout(
    tokens="gpt_neox.embed_in",
    blocks="gpt_neox.layers",
    norm="gpt_neox.final_layer_norm",
    outputs=("lm_head", "embed_out"),
    heads="num_attention_heads",
    attention_norm="input_layernorm",
    attention_in=("attention.query_key_value",),
    attention_out="attention.dense",
    mlp_norm="post_attention_layernorm",
    mlp_in=("mlp.dense_h_to_4h",),
    mlp_out="mlp.dense_4h_to_h",
)
LLAMA = Layout(
    tokens="model.embed_tokens",
    blocks="model.layers",
    norm="model.norm",
    outputs=("lm_head",),
    heads="num_key_value_heads",
    attention_norm="input_layernorm",
    attention_in=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    mlp_in=("mlp.gate_proj", "mlp.up_proj"),
    mlp_out="mlp.down_proj",
)
SMALL_GPT = Layout(
    tokens="tokens",
    blocks="blocks",
    norm="norm",
    outputs=("outputs",),
    heads="heads",
    attention_norm="attention_norm",
    attention_in=("query", "key", "value"),
    attention_out="mix",
    mlp_norm="mlp_norm",
    mlp_in=("up",),
    mlp_out="down",
)
LAYOUTS = {
    "GPT": SMALL_GPT,
    "GPT2LMHeadModel": GPT2,
    "GPTNeoXForCausalLM": GPT_NEOX,
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "SequenceTransformer": SMALL_GPT,
}


def is_transformer(model: nn.Module) -> bool:
    """Whether `transformer_map` knows the model's architecture."""
    return _class_name(model) in LAYOUTS


def _class_name(module: nn.Module) -> str:
    """The name of a module's class, which `fully_shard` puts FSDP in front of."""
    return type(module).__name__.removeprefix("FSDP")


def transformer_map(model: nn.Module, vocabulary: Vocabulary = "each") -> UnitMap:
    """Reads which units a transformer has, and which of its weights join them.

    Units in order: tokens, residual channels, then per block its heads and MLP neurons. Position
    embeddings, biases and normalisations carry no capacity; gains of normalisations are folded
    into what reads through them.

    Args:
        model: a model of one of the classes in `LAYOUTS`.
        vocabulary: `"each"` token is a unit; all tokens are `"one"` unit; or they, and the
            embeddings, are left out (`"none"`). The groups' names say which.

    Raises:
        UnreadableModelError: for another architecture, or one whose parts are not where its
            class keeps them; names what could be read.
    """
    name = _class_name(model)
    if name not in LAYOUTS:
        raise UnreadableModelError(
            f"cannot read the architecture {name}; readable are {', '.join(LAYOUTS)}"
        )
    return _Reader(model, LAYOUTS[name], vocabulary).read()


@dataclass
class _Reader:
    model: nn.Module
    layout: Layout
    vocabulary: Vocabulary
    groups: list[UnitGroup] = field(default_factory=list)
    blocks: list[WeightBlock] = field(default_factory=list)

    def read(self) -> UnitMap:
        layout = self.layout
        table = self._weight(layout.tokens)
        tokens = self._tokens("tokens", "token", len(table))
        residual = self._new("residual", "residual", table.shape[1])
        if self.vocabulary != "none":
            name = f"{layout.tokens}.weight"
            self.blocks.append(WeightBlock(name, tokens, residual[None], transposed=True))
        for i, _ in enumerate(self._part(layout.blocks)):
            self._block(f"{layout.blocks}.{i}", residual)
        if self.vocabulary != "none":
            self._outputs(table, tokens, residual)
        n = self.groups[-1].stop
        return UnitMap(n, tuple(self.groups), tuple(self.blocks), torch.zeros(n, dtype=torch.bool))

    def _block(self, name: str, residual: Tensor) -> None:
        layout = self.layout
        heads = self._new(f"{name}.heads", "head", self._head_count())
        for part in layout.attention_in:
            width = self._width(f"{name}.{part}", residual)
            rows = self._spread(heads, width, layout.copies, f"{name}.{part}")
            self._matrix(f"{name}.{part}", residual, rows, f"{name}.{layout.attention_norm}")
        out = f"{name}.{layout.attention_out}"
        channels = self._weight(out).numel() // len(residual)
        self._matrix(out, self._spread(heads, channels, 1, out), residual)
        first = f"{name}.{layout.mlp_in[0]}"
        neurons = self._new(f"{name}.mlp", "neuron", self._width(first, residual))
        for part in layout.mlp_in:
            self._matrix(f"{name}.{part}", residual, neurons, f"{name}.{layout.mlp_norm}")
        self._matrix(f"{name}.{layout.mlp_out}", neurons, residual)

    def _outputs(self, table: Tensor, tokens: Tensor, residual: Tensor) -> None:
        layout = self.layout
        present = dict(self.model.named_modules())
        name = next((each for each in layout.outputs if each in present), layout.outputs[0])
        if self._weight(name) is table:
            tied = f"{layout.tokens}.weight"
            gains = (Gain(NormGain(layout.norm)),)
            self.blocks.append(
                WeightBlock(tied, tokens, residual[None], gains, applied_by=name, use=1)
            )
            return
        if self._width(name, residual) != len(table):
            raise self._unreadable(f"{name} has not one output for each of {len(table)} tokens")
        self._matrix(name, residual, tokens, layout.norm)

    def _matrix(self, name: str, senders: Tensor, receivers: Tensor, *gains: str) -> None:
        layer = self._part(name)
        kind = _class_name(layer)
        if not isinstance(layer, nn.Linear) and kind != "Conv1D":
            raise self._unreadable(f"{name} is a {kind}, wanted a Linear or Conv1D")
        transposed = kind == "Conv1D"
        rows, columns = (senders, receivers) if transposed else (receivers, senders)
        if layer.weight.shape != (len(rows), len(columns)):
            raise self._unreadable(
                f"{name} has shape {tuple(layer.weight.shape)}, wanted {(len(rows), len(columns))}"
            )
        side = 0 if transposed else 1
        factors = tuple(Gain(NormGain(gain), side=side) for gain in gains)
        self.blocks.append(
            WeightBlock(f"{name}.weight", rows, columns[None], factors, transposed=transposed)
        )

    def _spread(self, heads: Tensor, width: int, copies: int, name: str) -> Tensor:
        if width % (len(heads) * copies):
            raise self._unreadable(f"{name} has {width} channels for {len(heads)} heads")
        return heads.repeat_interleave(width // (len(heads) * copies)).repeat(copies)

    def _width(self, name: str, residual: Tensor) -> int:
        return int(self._weight(name).numel() // len(residual))

    def _head_count(self) -> int:
        count = getattr(getattr(self.model, "config", None), self.layout.heads, None)
        if not isinstance(count, int) or count < 1:
            raise self._unreadable(f"config.{self.layout.heads} is {count}, wanted a head count")
        return count

    def _new(self, name: str, kind: str, count: int) -> Tensor:
        start = self.groups[-1].stop if self.groups else 0
        self.groups.append(UnitGroup(name, kind, start, start + count))
        return torch.arange(start, start + count)

    def _tokens(self, name: str, kind: str, count: int) -> Tensor:
        if self.vocabulary == "each":
            return self._new(name, kind, count)
        if self.vocabulary == "one":
            return self._new(f"{name} ({count} as one unit)", kind, 1).expand(count)
        return torch.zeros(0, dtype=torch.long)

    def _part(self, name: str) -> Any:
        try:
            return self.model.get_submodule(name)
        except AttributeError as error:
            raise self._unreadable(f"it has no '{name}'") from error

    def _weight(self, name: str) -> Tensor:
        layer = self._part(name)
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor):
            raise self._unreadable(f"{name} is a {type(layer).__name__} without weight")
        return weight

    def _unreadable(self, what: str) -> UnreadableModelError:
        return UnreadableModelError(
            f"cannot read this {type(self.model).__name__}: {what}; "
            f"readable are {', '.join(LAYOUTS)} as their libraries build them"
        )


@torch.no_grad()
def fold_gains(model: nn.Module, units: UnitMap) -> None:
    """Moves the gains of normalisations into the weights that read through them, in place.

    The model computes the same function after it, and the capacities are its bare |weight|. A
    normalisation whose reader is tied to the embeddings, or has a gain of 0, is left alone.
    """
    readers: dict[str, list[WeightBlock]] = {}
    for block in units.blocks:
        sources = [factor.source for factor in block.gains]
        for source in sources:
            if isinstance(source, NormGain):
                readers.setdefault(source.name, []).append(block)
    for name, blocks in readers.items():
        norm = model.get_submodule(name)
        gain = getattr(norm, "weight", None)
        if gain is None or any(block.applied_by for block in blocks) or bool((gain == 0).any()):
            continue
        factor = gain.clone()
        for block in blocks:
            weight = model.get_parameter(block.parameter)
            weight.mul_(factor[:, None] if block.transposed else factor)
        gain.fill_(1)
        if isinstance(getattr(norm, "bias", None), Tensor):
            norm.get_parameter("bias").div_(factor)
