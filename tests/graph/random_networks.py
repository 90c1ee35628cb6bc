"""Random small networks of the operations that are read, with sparse weights.

A network is grown step by step from a source of random choices (`random.Random`, or Hypothesis's,
which shrinks). Its `repr` says what it is made of. Weights are absent by channel, and some rows,
gains and masks are 0, so that most outputs depend on some of the inputs only.

A network of `exact=True` has no step that makes one unit of two which are told apart elsewhere:
two values are summed or multiplied entry by entry only where nothing else reads the ones that
become one unit (`Value.owned`). Otherwise, and where softmax attention makes one unit of a head,
a graph of units may say too much, but never too little.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn


@dataclass(frozen=True)
class Value:
    """What a step is given.

    Attributes:
        width: channels, or entries of the last axis.
        size: length of the other axes that hold positions; () for rows of units.
        owned: every channel is one unit at all positions, no two are the same unit, and nothing
            else reads them.
        live: no channel is 0 whatever the input. Where one factor is always 0, a product depends on
            nothing, and the unit that both factors become still has what writes the other one.
        raw: it is an input still. Which units two channels of a picture are that are multiplied is
            for the reader to choose.
        uniform: what a channel depends on is the same at all positions, so that some of them tell
            as much as all.
    """

    width: int
    size: tuple[int, ...] = ()
    owned: bool = True
    uniform: bool = True
    live: bool = True
    raw: bool = False

    def mixed(self, width: int, live: bool, size: tuple[int, ...] | None = None) -> Value:
        """After a layer that writes units of its own."""
        return Value(width, self.size if size is None else size, True, self.uniform, live)

    @property
    def shared(self) -> Value:
        """The same value where something else reads it too."""
        return replace(self, owned=False)


class Call(nn.Module):
    """A function of one value, with nothing to learn."""

    def __init__(self, text: str, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.text, self.function = text, function

    def forward(self, x):
        return self.function(x)

    def extra_repr(self):
        return self.text


class Gain(nn.Module):
    """x * g, with a parameter or a buffer g for each channel."""

    def __init__(self, gain: Tensor, size: tuple[int, ...], learned: bool, divides: bool = False):
        super().__init__()
        shaped = gain.reshape(-1, *[1] * len(size))
        self.divides = divides
        if learned:
            self.gain = nn.Parameter(shaped)
        else:
            self.register_buffer("gain", shaped)

    def forward(self, x):
        return x / self.gain if self.divides else x * self.gain

    def extra_repr(self):
        values = [round(v, 2) for v in self.gain.flatten().tolist()]
        kind = "learned" if isinstance(self.gain, nn.Parameter) else "buffer"
        return f"{kind}, {'1 / ' * self.divides}{values}"


class Residual(nn.Module):
    """x + body(x), in one of the ways it is written."""

    def __init__(self, body: nn.Module, style: str):
        super().__init__()
        self.body, self.style = body, style

    def forward(self, x):
        if self.style == "in place":
            y = self.body(x)
            y += x
            return y
        if self.style == "minus":
            return x - self.body(x)
        return torch.add(x, self.body(x)) if self.style == "torch.add" else x + self.body(x)

    def extra_repr(self):
        return self.style


class Branches(nn.Module):
    """Several bodies that read the same value, joined."""

    def __init__(self, bodies: list[nn.Module], join: str):
        super().__init__()
        self.bodies, self.join = nn.ModuleList(bodies), join

    def forward(self, x):
        return joined([body(x) for body in self.bodies], self.join)

    def extra_repr(self):
        return self.join


def joined(values: list[Tensor], join: str) -> Tensor:
    if join == "cat":
        return torch.cat(values, dim=1)
    out = values[0]
    for value in values[1:]:
        out = out + value if join == "sum" else out * value
    return out


class Gated(nn.Module):
    """The two halves of a value, one gating the other."""

    def __init__(self, style: str):
        super().__init__()
        self.style = style

    def forward(self, x):
        if self.style == "glu":
            return F.glu(x, dim=1)
        if self.style == "split":
            a, b = torch.split(x, x.shape[1] // 2, dim=1)
            return a * torch.tanh(b)
        a, b = x.chunk(2, dim=1)
        return F.silu(a) * b

    def extra_repr(self):
        return self.style


class SqueezeExcite(nn.Module):
    def __init__(self, down: nn.Module, up: nn.Module, style: str):
        super().__init__()
        self.down, self.up, self.style = down, up, style

    def forward(self, x):
        axes = tuple(range(2, x.ndim))
        if self.style == "conv":
            pooled = x.mean(axes, keepdim=True)
            return x * torch.sigmoid(self.up(F.relu(self.down(pooled))))
        scale = F.hardsigmoid(self.up(F.silu(self.down(x.mean(axes)))))
        return x * scale.reshape(*scale.shape, *[1] * len(axes))

    def extra_repr(self):
        return self.style


class Attention(nn.Module):
    """Softmax attention with two heads over (batch, positions, channels)."""

    def __init__(self, qkv: nn.Linear, out: nn.Linear, style: str):
        super().__init__()
        self.qkv, self.out, self.style = qkv, out, style

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.style == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q @ k.transpose(-2, -1)) * k.shape[-1] ** -0.5).softmax(dim=-1) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, -1))

    def extra_repr(self):
        return self.style


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self, layer: nn.Module, between: nn.Module):
        super().__init__()
        self.layer, self.between = layer, between

    def forward(self, x):
        return self.layer(self.between(self.layer(x)))


class LastAxis(nn.Module):
    """A body that reads channels on the last axis, inside a network that has them on axis 1."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x.movedim(1, -1)).movedim(-1, 1)


class Shuffle(nn.Module):
    """Channel shuffle by view and transpose."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        n, c, *rest = x.shape
        y = x.view(n, self.groups, c // self.groups, *rest).transpose(1, 2)
        return y.contiguous().view(n, c, *rest)

    def extra_repr(self):
        return f"groups={self.groups}"


class Network(nn.Module):
    """One stem per input, joined; a trunk; one head per output."""

    def __init__(
        self,
        stems: list[nn.Module],
        join: str,
        trunk: nn.Module,
        heads: list[nn.Module],
        answer: str = "tuple",
    ):
        super().__init__()
        self.stems, self.trunk, self.heads = nn.ModuleList(stems), trunk, nn.ModuleList(heads)
        self.join, self.answer = join, answer

    def forward(self, *inputs):
        values = [stem(x) for stem, x in zip(self.stems, inputs, strict=True)]
        h = self.trunk(joined(values, self.join))
        outputs = tuple(head(h) for head in self.heads)
        if len(outputs) == 1:
            return outputs[0]
        return {f"y{i}": y for i, y in enumerate(outputs)} if self.answer == "dict" else outputs

    def extra_repr(self):
        return f"join={self.join}, answer={self.answer}"


ACTIVATIONS = {
    "relu": (nn.ReLU, F.relu, torch.relu, lambda x: x.clamp(min=0)),
    "leaky": (lambda: nn.LeakyReLU(0.1), lambda x: F.leaky_relu(x, 0.2)),
    "relu6": (nn.ReLU6, F.relu6, nn.Hardtanh),
    "silu": (nn.SiLU, F.silu, lambda x: x * torch.sigmoid(x)),
    "gelu": (nn.GELU, F.gelu, lambda x: F.gelu(x, approximate="tanh")),
    "tanh": (nn.Tanh, torch.tanh, nn.Softsign),
    "hardswish": (nn.Hardswish, F.hardswish),
    "others": (nn.ELU, nn.Mish, nn.Softplus, torch.sigmoid),
}


class Grower:
    """Grows networks from a source of random choices."""

    def __init__(self, rng: random.Random, exact: bool = True):
        self.rng, self.exact = rng, exact
        self.drawn = torch.Generator().manual_seed(rng.randrange(2**31))

    # weights

    def numbers(self, *shape: int) -> Tensor:
        """Away from 0, of both signs."""
        u = torch.rand(shape, generator=self.drawn) + 0.5
        return u * (torch.randint(2, shape, generator=self.drawn) * 2 - 1)

    def some_zero(self, count: int, share: float = 0.2) -> Tensor:
        kept = torch.rand(count, generator=self.drawn) >= share
        return self.numbers(count) * kept

    def thin(self, layer: nn.Module) -> nn.Module:
        """Draws a layer's weights anew; many are 0, by channel."""
        density = self.rng.choice((0.25, 0.4, 0.7))
        with torch.no_grad():
            weight = layer.weight
            kept = torch.rand(weight.shape[:2], generator=self.drawn) < density
            if self.rng.random() < 0.2:
                kept[self.rng.randrange(len(kept))] = False
            weight.copy_(
                self.numbers(*weight.shape) * kept.reshape(*kept.shape, *[1] * (weight.ndim - 2))
            )
            if layer.bias is not None:
                layer.bias.copy_(self.numbers(len(layer.bias)) * 0.3)
        return layer

    def batch_norm(self, kind: type[nn.Module], width: int) -> nn.Module:
        norm = kind(width)
        with torch.no_grad():
            if self.rng.random() < 0.3:
                norm.weight.copy_(self.some_zero(width, 0.25))
            else:
                norm.weight.copy_(self.numbers(width))
            norm.bias.copy_(self.numbers(width) * 0.3)
            norm.running_mean.copy_(self.numbers(width) * 0.3)
            norm.running_var.copy_(self.numbers(width).abs())
        return norm

    # steps: each gives a module and the value behind it

    def linear(self, v: Value, width: int | None = None, bias: bool = False):
        width = width or self.rng.randint(2, 6)
        bias = bias or self.rng.random() < 0.8
        layer = self.thin(nn.Linear(v.width, width, bias=bias))
        return (LastAxis(layer) if v.size else layer), v.mixed(width, live=bias)

    def conv(self, v: Value, width: int | None = None, keep_size: bool = False):
        dims, rng = len(v.size), self.rng
        kind = (nn.Conv1d, nn.Conv2d)[dims - 1]
        width = width or rng.choice((2, 4, 4, 6))
        style = rng.choice(("plain", "plain", "grouped", "depthwise", "point", "stride", "dilated"))
        options = {"kernel_size": 3, "padding": 1, "bias": rng.random() < 0.7}
        if style == "grouped" and v.width % 2 == 0 and width % 2 == 0:
            options["groups"] = 2
        elif style == "depthwise" and (not keep_size or v.width == width):
            width = v.width * (1 if keep_size else rng.choice((1, 1, 2)))
            options["groups"] = v.width
        elif style == "point":
            options |= {"kernel_size": 1, "padding": 0}
        elif style == "stride" and not keep_size and min(v.size) >= 4 and v.owned:
            options |= {"kernel_size": 2, "stride": 2, "padding": 0}
        elif style == "dilated":
            options |= {"padding": 2, "dilation": 2}
        layer = self.thin(kind(v.width, width, **options))
        return layer, self.sized(layer, v, width)

    def transposed(self, v: Value):
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[len(v.size) - 1]
        groups = 2 if v.width % 2 == 0 and self.rng.random() < 0.3 else 1
        width = 4 if groups == 2 else self.rng.randint(2, 5)
        layer = kind(v.width, width, 2, stride=self.rng.choice((1, 2)), groups=groups)
        return self.thin(layer), self.sized(layer, v, width)

    @staticmethod
    def sized(module: nn.Module, v: Value, width: int) -> Value:
        with torch.no_grad():
            shape = module(torch.zeros(1, v.width, *v.size)).shape
        assert shape[1] == width
        return v.mixed(width, getattr(module, "bias", None) is not None, tuple(shape[2:]))

    def mix(self, v: Value, width: int | None = None, keep_size: bool = False):
        """A layer that writes units of its own."""
        if v.size and self.rng.random() < 0.8:
            return self.conv(v, width, keep_size)
        return self.linear(v, width)

    def activation(self, v: Value):
        family = self.rng.choice(list(ACTIVATIONS))
        chosen = self.rng.choice(ACTIVATIONS[family])
        module = chosen() if isinstance(chosen, type) else None
        if module is None and family == "leaky" and chosen is ACTIVATIONS["leaky"][0]:
            module = chosen()
        return module if module is not None else Call(family, chosen), v

    def norm(self, v: Value):
        rng = self.rng
        v = replace(v, live=True)  # all have biases
        if len(v.size) == 2:
            if rng.random() < 0.7:
                return self.batch_norm(nn.BatchNorm2d, v.width), v
            norm = (
                nn.GroupNorm(1, v.width)
                if rng.random() < 0.6
                else nn.InstanceNorm2d(v.width, affine=True)
            )
        elif rng.random() < 0.7:
            return self.batch_norm(nn.BatchNorm1d, v.width), v
        else:
            norm = nn.LayerNorm(v.width)
        with torch.no_grad():
            norm.weight.copy_(self.some_zero(v.width, 0.15))
            norm.bias.copy_(self.numbers(v.width) * 0.3)
        return (LastAxis(norm) if isinstance(norm, nn.LayerNorm) and v.size else norm), v

    def gain(self, v: Value):
        learned = self.rng.random() < 0.6
        if self.rng.random() < 0.2:
            return Gain(self.numbers(v.width), v.size, learned, divides=True), v
        gain = self.some_zero(v.width, 0.3)
        factor = gain if learned else (gain != 0).float()
        return Gain(factor, v.size, learned), replace(v, live=False)

    def constant(self, v: Value):
        text, function = self.rng.choice((
            ("x * 0.5", lambda x: x * 0.5),
            ("-x", lambda x: -x),
            ("x / 3", lambda x: x / 3),
            ("x + 1", lambda x: x + 1),
            ("1 - x", lambda x: 1 - x),
            ("torch.mul(x, 2)", lambda x: torch.mul(x, 2)),
            ("(x - 0.5) / 0.25", lambda x: (x - 0.5) / 0.25),
        ))  # fmt: skip
        return Call(text, function), v

    def move(self, v: Value):
        """Channels in another order, or fewer of them."""
        w, rng = v.width, self.rng
        order = list(range(w))
        rng.shuffle(order)
        ways = [("index", lambda x: x[:, order], w), ("flip", lambda x: x.flip(1), w)]
        if w >= 3:
            ways += [
                ("slice", lambda x: x[:, 1:], w - 1),
                ("narrow", lambda x: x.narrow(1, 0, w - 1), w - 1),
            ]
        if w % 2 == 0:
            ways += [
                ("halves swapped", lambda x: torch.cat(x.chunk(2, dim=1)[::-1], 1), w),
                ("even", lambda x: x[:, ::2], w // 2),
            ]
        if v.size:
            ways += [("clone and contiguous", lambda x: x.clone().contiguous(), w)]
        text, function, width = rng.choice(ways)
        if text == "halves swapped" and w > 2 and w % 2 == 0 and rng.random() < 0.5:
            return Shuffle(2), v
        return Call(text, function), replace(v, width=width)

    def positions(self, v: Value):
        """Pooling, upsampling and padding; feature maps only."""
        rng, two = self.rng, len(v.size) == 2
        ways: list[nn.Module] = [nn.Upsample(scale_factor=2)]
        if two:
            ways += [nn.ZeroPad2d(1), nn.Upsample(scale_factor=2, mode="bilinear")]
            ways += [
                Call("permute back and forth", lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2))
            ]
            ways += [Call("roll", lambda x: torch.roll(x, 1, dims=2))]
        if min(v.size) >= 4:
            ways += (
                [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)] * 2
                if two
                else [nn.MaxPool1d(2), nn.AvgPool1d(2)] * 2
            )
        if max(v.size) > 6:
            ways = ways[-2:] if min(v.size) >= 4 else ways[1:2]
        step = rng.choice(ways)
        after = self.sized(step, v, v.width)
        uniform = v.uniform and not isinstance(step, nn.ZeroPad2d)
        return step, replace(v, size=after.size, uniform=uniform)

    def pixel_shuffle(self, v: Value):
        layer, mixed = self.conv(v, 4 * self.rng.randint(1, 2), keep_size=True)
        if mixed.width % 4:
            return layer, mixed
        size = tuple(2 * s for s in mixed.size)
        back, after = self.conv(Value(mixed.width // 4, size, False, False), None, keep_size=True)
        return nn.Sequential(layer, nn.PixelShuffle(2), back), after

    def pad_channels(self, v: Value):
        pad = (0, 0) * len(v.size) + (1, 1)
        return Call("zero channels", lambda x: F.pad(x, pad)), replace(
            v, width=v.width + 2, live=False
        )

    def residual(self, v: Value, depth: int):
        style = self.rng.choice(("x + f", "x + f", "torch.add", "in place", "minus"))
        body, inner = self.chain(v.shared, depth, keep_size=True)
        last, _ = self.mix(inner, v.width, keep_size=True)
        last, width = (last, self.width_of(last, inner))
        if width != v.width:
            last, _ = self.linear(inner, v.width)
        steps = [*body, last]
        if self.rng.random() < 0.3:
            steps.append(self.norm(v)[0])
        return Residual(nn.Sequential(*steps), style), v

    @staticmethod
    def width_of(module: nn.Module, v: Value) -> int:
        with torch.no_grad():
            return module.eval()(torch.zeros(2, v.width, *v.size)).shape[1]

    def branches(self, v: Value, depth: int):
        join = self.rng.choice(("cat", "cat", "sum", "product"))
        bodies, values = [], []
        width = self.rng.randint(2, 4)
        for _ in range(self.rng.randint(2, 3)):
            body, inner = self.chain(v.shared, depth, keep_size=True)
            last, after = self.linear(inner, width, bias=join == "product")
            bodies.append(nn.Sequential(*body, last))
            values.append(after)
        total = sum(value.width for value in values) if join == "cat" else width
        return Branches(bodies, join), v.mixed(total, live=all(each.live for each in values))

    def dense_block(self, v: Value):
        """cat(x, f(x))."""
        layer, after = self.linear(v.shared, self.rng.randint(1, 3))
        joint = Branches([nn.Identity(), layer], "cat")
        return joint, replace(v, width=v.width + after.width, live=v.live and after.live)

    def gated(self, v: Value):
        return Gated(self.rng.choice(("glu", "split", "chunk"))), replace(v, width=v.width // 2)

    def squeeze_excite(self, v: Value):
        style = self.rng.choice(("conv", "linear"))
        kind = nn.Linear if style == "linear" else (
            lambda a, b: (nn.Conv1d, nn.Conv2d)[len(v.size) - 1](a, b, 1)
        )  # fmt: skip
        return SqueezeExcite(self.thin(kind(v.width, 2)), self.thin(kind(2, v.width)), style), v

    def attention(self, v: Value):
        qkv = self.thin(nn.Linear(v.width, 12))
        out = self.thin(nn.Linear(4, v.width))
        style = self.rng.choice(("fused", "written out"))
        return LastAxis(Attention(qkv, out, style)), v.mixed(v.width, live=True)

    def twice(self, v: Value):
        layer, after = self.linear(v, v.width)
        between, _ = self.activation(v)
        return Twice(layer, between), after

    # networks

    def step(self, v: Value, depth: int, keep_size: bool):
        rng = self.rng
        ways = [lambda: self.mix(v, None, keep_size)] * 3
        ways += [lambda: self.activation(v)] * 3
        ways += [lambda: self.norm(v)] * 2
        ways += [lambda: self.gain(v), lambda: self.constant(v), lambda: self.move(v)]
        ways += [lambda: self.twice(v), lambda: self.dense_block(v)]
        if v.width <= 6:
            ways += [lambda: self.pad_channels(v)]
        if depth:
            ways += [lambda: self.branches(v, depth - 1)]
        if depth and (v.owned or not self.exact):
            ways += [lambda: self.residual(v, depth - 1)] * 3
        multiplies = (v.owned and v.live) or not self.exact
        if v.width % 2 == 0 and multiplies and not (v.raw and v.size):
            ways += [lambda: self.gated(v)]
        if v.size:
            if (v.owned and v.live) or not self.exact:
                ways += [lambda: self.squeeze_excite(v)]
            if len(v.size) == 1 and not self.exact:
                ways += [lambda: self.attention(v)] * 3
            if not keep_size:
                ways += [lambda: self.positions(v)] * 2
                ways += [lambda: self.transposed(v)] if max(v.size) <= 6 else []
                if len(v.size) == 2 and max(v.size) <= 6:
                    ways += [lambda: self.pixel_shuffle(v)]
        return rng.choice(ways)()

    def chain(self, v: Value, depth: int, keep_size: bool = False, most: int = 3):
        steps = []
        for _ in range(self.rng.randint(0, most)):
            step, v = self.step(v, depth, keep_size)
            steps.append(step)
        return steps, v

    def flatten(self, v: Value, is_raw: bool):
        """From a feature map to a row of units; of a raw picture's parts, only by pooling.

        Whether such a picture's units are channels or entries is for the reader to choose.
        """
        w, count = v.width, v.width
        for s in v.size:
            count *= s
        rng = self.rng
        axes = tuple(range(2, 2 + len(v.size)))
        pooled = [
            ("mean", lambda x: x.mean(axes), w),
            ("amax", lambda x: x.amax(axes), w),
            ("mean of flattened", lambda x: x.flatten(2).mean(-1), w),
            ("sum", lambda x: x.sum(axes), w),
        ]
        flat = [
            ("flatten", lambda x: x.flatten(1), count),
            ("view", lambda x: x.reshape(x.shape[0], -1), count),
            ("reshape", lambda x: torch.reshape(x, (-1, count)), count),
            ("movedim and flatten", lambda x: x.movedim(1, -1).flatten(1), count),
        ]
        text, function, width = rng.choice(
            pooled + (flat if count <= 40 and v.uniform and not is_raw else [])
        )
        step = Call(text, function)
        owned = v.owned and text in ("mean", "amax", "mean of flattened", "sum")
        return step, Value(width, owned=owned, live=v.live)

    def network(self) -> tuple[Network, tuple[Tensor, ...]]:
        rng = self.rng
        kind = rng.choice(("dense", "dense", "conv2d", "conv2d", "conv1d"))
        many = rng.random() < 0.2
        stems, given, inner = [], [], []
        for _ in range(2 if many else 1):
            size = {"dense": (), "conv2d": (rng.choice((4, 5)), 4), "conv1d": (6,)}[kind]
            v = Value(rng.randint(2, 5), size, raw=True)
            steps: list[nn.Module] = []
            if kind == "conv2d" and rng.random() < 0.1:
                shape = (-1, v.width, *size)
                steps = [Call(f"view{shape}", lambda x, shape=shape: x.view(shape))]
                given.append(torch.zeros(2, v.width * size[0] * size[1]))
                layer, after = self.conv(replace(v, owned=False, uniform=False), 3, keep_size=True)
                steps.append(layer)
            else:
                given.append(torch.zeros(2, v.width, *size))
                after = v
            if many:
                layer, after = self.linear(after, 3, bias=True)
                steps.append(layer)
            stems.append(nn.Sequential(*steps))
            inner.append(after)
        join = "cat"
        if many:
            same = inner[0].size == inner[1].size and inner[0].width == inner[1].width
            join = rng.choice(("cat", "sum", "product")) if same else "cat"
            if inner[0].size != inner[1].size:
                stems, given, inner = stems[:1], given[:1], inner[:1]
        width = sum(v.width for v in inner) if join == "cat" else inner[0].width
        v = replace(inner[0], width=width, uniform=all(each.uniform for each in inner))
        trunk, v = self.chain(v, depth=2, most=5)
        if v.size:
            layers = [m for step in (*stems, *trunk) for m in step.modules()]
            writes = any(isinstance(m, nn.Linear | nn.modules.conv._ConvNd) for m in layers)
            step, v = self.flatten(v, is_raw=bool(trunk) and not writes)
            trunk.append(step)
            more, v = self.chain(v, depth=1, most=2)
            trunk += more
        heads = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            layer, _ = self.linear(v, rng.randint(1, 4))
            heads.append(layer)
        if len(heads) == 1 and v.owned and rng.random() < 0.3:
            after = self.activation(v)[0] if rng.random() < 0.5 else None
            heads = [nn.Sequential(heads[0], *([after] if after else []))]
        net = Network(stems, join, nn.Sequential(*trunk), heads, rng.choice(("tuple", "dict")))
        return net.eval(), tuple(given)


def random_network(seed: int, exact: bool = True) -> tuple[Network, tuple[Tensor, ...]]:
    """A network and its example inputs, the same for the same seed."""
    return Grower(random.Random(seed), exact).network()


def networks(exact: bool = True) -> st.SearchStrategy[tuple[Network, tuple[Tensor, ...]]]:
    """Networks and example inputs, whose choices Hypothesis makes and shrinks."""
    return st.randoms(use_true_random=False).map(lambda rng: Grower(rng, exact).network())
