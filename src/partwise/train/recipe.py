"""A recipe: everything that decides a training run, for tables, pictures and text alike.

    [data]      task = "digits-pair" | texts = [...] | file = "x.csv" | factory = "package:make"
    [model]     kind = "mlp" | "conv" | "gpt" | "pretrained" | "factory", and its sizes
    [training]  steps, batch, lr, ...
    [penalty]   kind = "none" | "cut_tree" | "budget" | "share", and its schedule

A factory is a function of yours, `module:name`. It is imported, and so its code is run, when a
training by such a recipe begins or its run is opened.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from partwise.errors import RecipeError
from partwise.loss import BudgetSchedule, CutTreeSchedule, ShareSchedule
from partwise.tasks import TASKS

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Factory = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
"""`module:name` of a function."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRecipe(_Part):
    """What is learnt: exactly one of `task`, `texts`, `file` and `factory`.

    Attributes:
        task: name of an embedded task.
        texts: txt, jsonl or parquet files, or hub names of data sets; each is a stream.
        bpe: size of a byte-level BPE vocabulary of the texts; a token per character without it.
        file: a table, `.npz` (arrays `x` and `y`), `.csv` or `.parquet`.
        targets: the columns of `file` that are to be predicted; the others are inputs. Those of an
            `.npz` are its arrays beside `x`, `y` if left out.
        target_kind: what they hold (see `task_from_arrays`).
        factory: a function without arguments that gives a `Task` or a `Text`.
    """

    task: str | None = None
    texts: tuple[str, ...] = ()
    bpe: int | None = None
    file: str | None = None
    targets: tuple[str, ...] = ()
    target_kind: Literal["classes", "binary", "value"] = "classes"
    factory: Factory | None = None

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str | None) -> str | None:
        if task is not None and task not in TASKS:
            raise ValueError(f"no task '{task}'; there are {', '.join(TASKS)}")
        return task

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("task", "texts", "file", "factory") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"gives {' and '.join(given) or 'nothing'}; wanted one of task, texts, file, "
                "factory"
            )
        if self.bpe is not None and not self.texts:
            raise ValueError("bpe is a vocabulary's size and needs texts")
        return self

    @property
    def name(self) -> str:
        """What it is called, in a word or two."""
        named = self.task or self.factory
        return named or ", ".join(Path(each).stem for each in self.texts or (str(self.file),))


class MLPModel(_Part):
    """A multilayer perceptron with ReLU units.

    Attributes:
        hidden: units of each hidden layer.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Count, ...] = (64, 64)


class ConvModel(_Part):
    """Convolutions with ReLU, each halving the picture by max pooling, then linear layers.

    Attributes:
        shape: channels, height and width of the pictures that rows of inputs are; a task that
            knows its picture needs none.
        channels: of each convolution.
        kernel: side of its square kernel, odd.
        pool: side of the squares that are pooled after each; 1 for none.
        hidden: units of each hidden linear layer.
    """

    kind: Literal["conv"] = "conv"
    shape: tuple[Count, Count, Count] | None = None
    channels: tuple[Count, ...] = (16, 32)
    kernel: Count = 3
    pool: Count = 2
    hidden: tuple[Count, ...] = (64,)

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("wanted an odd number, so that pictures keep their size")
        return kernel


class GPTModel(_Part):
    """A small GPT (see `partwise.train.gpt`).

    Attributes:
        context: tokens per sequence.
        width: residual channels.
        heads: attention heads per layer; they share the width.
        layers: number of blocks.
    """

    kind: Literal["gpt"] = "gpt"
    context: Count = 32
    width: Count = 64
    heads: Count = 4
    layers: Count = 2

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} cannot be shared by {self.heads} heads")
        return self


class PretrainedModel(_Part):
    """A language model of transformers', to be trained on.

    Attributes:
        source: a local directory in Hugging Face's layout, or a hub name.
        context: tokens per sequence.
    """

    kind: Literal["pretrained"] = "pretrained"
    source: str
    context: Count = 32


class FactoryModel(_Part):
    """A network of your own.

    Attributes:
        factory: a function of the data, a `Task` or a `Text`, that gives an `nn.Module`.
        context: tokens per sequence, where the data are texts.
    """

    kind: Literal["factory"] = "factory"
    factory: Factory
    context: Count = 32


ModelRecipe = MLPModel | ConvModel | GPTModel | PretrainedModel | FactoryModel
MODELS: dict[str, type[_Part]] = {
    "mlp": MLPModel,
    "conv": ConvModel,
    "gpt": GPTModel,
    "pretrained": PretrainedModel,
    "factory": FactoryModel,
}
LANGUAGE_MODELS = ("gpt", "pretrained")


class TrainingRecipe(_Part):
    """Optimisation by AdamW. Defaults are those for tables; `TEXT_TRAINING` has those for text.

    Attributes:
        steps: optimiser steps.
        batch: samples, or sequences, per step.
        accumulate: parts that a batch is run in, one after the other, to save memory.
        lr: highest learning rate.
        warmup_frac: share of the steps, at the beginning, over which it rises to that.
        decay_frac: share of the steps, at the end, over which it falls along half a cosine.
        final_frac: what it falls to, as a share of `lr`.
        weight_decay: AdamW's.
        clip: largest norm of the gradient; 0 for any.
        precision: `"float32"`, or `"bfloat16"` for forward passes in mixed precision.
        log_every: steps between lines of `metrics.jsonl`.
        checkpoint_every: steps between checkpoints.
        track: `"tensorboard"` or `"wandb"`, to have the metrics there too; `"none"`.
    """

    steps: Count = 4000
    batch: Count = 128
    accumulate: Count = 1
    lr: float = Field(2e-3, gt=0, allow_inf_nan=False)
    warmup_frac: Share = 0.0
    decay_frac: Share = 0.3
    final_frac: Share = 0.0
    weight_decay: float = Field(1e-2, ge=0)
    clip: float = Field(0.0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    log_every: Count = 50
    checkpoint_every: Count = 500
    track: Literal["none", "tensorboard", "wandb"] = "none"

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> Self:
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate = {self.accumulate}, wanted at most batch, {self.batch}")
        return self


TEXT_TRAINING: dict[str, Any] = {
    "steps": 3000,
    "batch": 32,
    "lr": 3e-3,
    "warmup_frac": 0.1,
    "decay_frac": 1.0,
    "final_frac": 0.01,
    "clip": 1.0,
    "log_every": 500,
}
"""What is left out of the training of a language model."""

Schedule = CutTreeSchedule | BudgetSchedule | ShareSchedule
SCHEDULES: dict[str, type[Schedule] | None] = {
    "none": None,
    "cut_tree": CutTreeSchedule,
    "budget": BudgetSchedule,
    "share": ShareSchedule,
}
ELSEWHERE = ("seed", "steps", "l1", "budget", "reference")
"""Fields of schedules that a recipe says once, in other places."""


class PenaltyRecipe(_Part):
    """What makes the network come apart. In TOML, fields of the schedule stand beside the others.

    Attributes:
        kind: `"none"` for the plain twin; `"cut_tree"`, at a fixed strength, or `"budget"` for
            tables and pictures; `"share"` for language models, of which either is said by budget.
        l1: strength of the sparsity pressure (see `l1_penalty`).
        budget: how much worse the held-out loss may be than the plain twin's, as a share.
        reference: the plain twin's held-out loss, a number, or for text the directory of its run;
            without it, the plain phase tells.
        schedule: all else, a `CutTreeSchedule`, `BudgetSchedule` or `ShareSchedule`.
    """

    kind: Literal["none", "cut_tree", "budget", "share"] = "none"
    l1: float = Field(0.0, ge=0)
    budget: float = Field(0.0, ge=0)
    reference: str = ""
    schedule: Any = None

    @model_validator(mode="before")
    @classmethod
    def _gather_schedule(cls, values: Any) -> Any:
        """The schedule's fields, which stand beside the others, become a schedule."""
        if not isinstance(values, Mapping) or values.get("schedule") is not None:
            return values
        kind = str(values.get("kind", "none"))
        own = {k: v for k, v in values.items() if k in cls.model_fields}
        rest = {k: v for k, v in values.items() if k not in cls.model_fields}
        if isinstance(own.get("reference"), int | float):
            own["reference"] = str(own["reference"])
        schedule = SCHEDULES.get(kind)
        if rest.keys() - schedule_fields(kind) or schedule is None:
            return {**values, **own}  # refused as unknown
        return {**own, "schedule": _schedule(schedule, rest)}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.budget and self.kind not in ("budget", "share"):
            raise ValueError(f"kind = '{self.kind}' knows no budget; leave kind out, or budget")
        if self.kind == "budget" and not self.budget:
            raise ValueError("kind = 'budget' needs a budget, a share of the loss such as 0.05")
        if self.kind == "budget" and self.l1:
            raise ValueError("within a budget the sparsity pressure adapts; leave l1 0")
        if self.reference and not self.budget:
            raise ValueError(f"reference = {self.reference} without a budget; set budget as well")
        return self

    @property
    def min_gain(self) -> float:
        """Newman's Q that a split of the trained network must earn."""
        own = self.schedule
        return own.min_gain if isinstance(own, CutTreeSchedule) else CutTreeSchedule().min_gain


def schedule_fields(kind: str) -> set[str]:
    """What a recipe may say of a kind of penalty's schedule."""
    schedule = SCHEDULES.get(kind)
    names = () if schedule is None else tuple(f.name for f in dataclasses.fields(schedule))
    return set(names) - set(ELSEWHERE)


def _schedule(kind: type[Schedule], fields: Mapping[str, Any]) -> Schedule:
    """A schedule in which no number is less than 0, nor a share more than 1."""
    try:
        made: Schedule = TypeAdapter(kind).validate_python(dict(fields))
    except ValidationError as error:
        problem = error.errors()[0]
        place, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
        named = f"{place[0]} = {problem['input']!r}: " if place else ""
        raise RecipeError(named + message) from error
    for name in fields:
        _refuse_out_of_range(name, getattr(made, name))
    return made


def _refuse_out_of_range(name: str, value: Any) -> None:
    if name == "freeze_after":
        return  # less than 0: no partition is ever looked for
    least = 1 if name.endswith("_every") else 0
    most = 1 if name.endswith(("_share", "_frac", "_contrast", "_separation")) else math.inf
    for each in value if isinstance(value, tuple) else [value]:
        if not least <= each <= most:
            wanted = f"at least {least}" if math.isinf(most) else f"{least} to {most}"
            raise RecipeError(f"{name} = {each}, wanted {wanted}")


class Recipe(_Part):
    """A training run.

    Attributes:
        data: what is learnt.
        seed: seed of the weights, the batches and the masked steps.
        model: the network.
        training: how it is optimised.
        penalty: what makes it come apart.
    """

    data: DataRecipe = DataRecipe(task="digits-pair")
    seed: int = Field(0, ge=0)
    model: ModelRecipe = Field(MLPModel(), discriminator="kind")
    training: TrainingRecipe = TrainingRecipe()
    penalty: PenaltyRecipe = PenaltyRecipe()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        return completed(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.data.texts and self.model.kind in ("mlp", "conv"):
            raise ValueError(f"a model of kind '{self.model.kind}' cannot read texts")
        if (self.data.task or self.data.file) and self.model.kind in LANGUAGE_MODELS:
            raise ValueError(f"a model of kind '{self.model.kind}' reads texts; set data.texts")
        wrong = ("cut_tree", "budget") if self.is_text else ("share",)
        if self.penalty.kind in wrong:
            fit = "share" if self.is_text else "cut_tree or budget"
            raise ValueError(f"penalty.kind = '{self.penalty.kind}' does not fit; set {fit}")
        return self

    @property
    def is_text(self) -> bool:
        """Whether this trains a language model on text."""
        return bool(self.data.texts) or self.model.kind in LANGUAGE_MODELS

    @property
    def context(self) -> int:
        """Tokens per sequence.

        Raises:
            RecipeError: if the model reads rows.
        """
        if isinstance(self.model, MLPModel | ConvModel):
            raise RecipeError(f"a model of kind '{self.model.kind}' reads rows, not sequences")
        return self.model.context

    @property
    def name(self) -> str:
        """What is learnt, in a word or two."""
        return self.data.name

    def schedule(self) -> Schedule | None:
        """The penalty's schedule, with what the recipe says of it in other places."""
        penalty, known = self.penalty, self.penalty.schedule
        if isinstance(known, CutTreeSchedule):
            return dataclasses.replace(known, seed=self.seed, l1=penalty.l1)
        if isinstance(known, BudgetSchedule):
            reference = _number(penalty.reference) if penalty.reference else None
            return dataclasses.replace(
                known,
                steps=self.training.steps,
                budget=penalty.budget,
                reference=reference,
                seed=self.seed,
            )
        return None if known is None else dataclasses.replace(known, seed=self.seed)


def _number(reference: str) -> float:
    try:
        return float(reference)
    except ValueError as error:
        raise RecipeError(
            f"penalty.reference = {reference}, wanted a number, the plain twin's held-out loss"
        ) from error


def completed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a recipe with the kinds of model and penalty, and a language model's defaults."""
    filled = {name: part for name, part in fields.items() if part is not None}
    data, model, penalty = (_plain(filled.get(name)) for name in ("data", "model", "penalty"))
    if model is not None and "kind" not in model:
        model = {"kind": "gpt" if data and data.get("texts") else "mlp", **model}
    elif model is None and data and data.get("texts"):
        model = {"kind": "gpt"}
    is_text = bool(data and data.get("texts")) or (model or {}).get("kind") in LANGUAGE_MODELS
    if model is not None:
        filled["model"] = model
    if is_text:
        training = filled.get("training", {})
        if isinstance(training, Mapping):
            filled["training"] = {**TEXT_TRAINING, **training}
    if penalty is not None or is_text:
        filled["penalty"] = {"kind": penalty_kind(penalty or {}, is_text), **(penalty or {})}
    return filled


def penalty_kind(fields: Mapping[str, Any], is_text: bool) -> str:
    """The kind of penalty that is meant where none is named."""
    if is_text:
        return "share"
    if fields.get("budget"):
        return "budget"
    return "cut_tree" if fields.keys() & schedule_fields("cut_tree") else "none"


def _plain(part: Any) -> dict[str, Any] | None:
    if isinstance(part, BaseModel):
        return {name: getattr(part, name) for name in type(part).model_fields}
    return dict(part) if isinstance(part, Mapping) else None
