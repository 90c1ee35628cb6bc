"""How many networks that nobody here wrote are read, and whether what is read is true.

    python -m benchmarks.model_zoo --json benchmarks/results/model_zoo.jsonl

Tries all of torchvision's classification models, and of each of timm's modules the smallest model
that is not one of timm's own test networks; with random weights, on pictures of 96 pixels where the
model takes them. A model is read, refused by name (an error of Partwise's), or ends in another
exception, a crash or the time limit (all counted as raw).

Each model that is read is checked: its weights are drawn anew, so sparse that outputs depend on
some of the inputs; then the reachability that its units tell, from each channel of the picture to
each output, is compared to what running the network tells (`benchmarks.dependence`). It is wrong if
a wire is lost; or invented, except where attention makes one unit of a head.

Models run in processes of their own. Rows go to FILE.jsonl as they are made; a run that was stopped
goes on from there (`--anew` begins anew, `--only NAME` does some). FILE.json has the counts too.
Needs the extra `zoo`. Beside a build of torch without CUDA, torchvision's operators do not load,
and transformers cannot be imported while it is installed; there, keep both out of the environment:

    pip install --no-deps --target .venv/zoo torchvision timm
    PYTHONPATH=.venv/zoo python -m benchmarks.model_zoo --json FILE
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.dependence import Smooth, dependence
from benchmarks.records import (
    RESULTS,
    Record,
    Row,
    read_record,
    read_rows,
    rounded,
    run_all,
    write_record,
)
from partwise.errors import PartwiseError
from partwise.files import write_json
from partwise.graph import unit_graph, unit_map

SMALLEST = RESULTS / "model_zoo_timm.jsonl"
SIZES = (96, 128, 224, 256, 299, 384, 448, 512)
READ_LIMIT_S = 60
CHECK_LIMIT_S = 90
PROCESS_LIMIT_S = 300
TRIALS = ((1.0, 1, False), (1.0, 2, True), (0.7, 1, False), (0.5, 1, True))
"""Share of rows that keep weights, how many each keeps, whether one input channel is silenced."""


class OutOfTime(BaseException):
    """A step took longer than it may."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def import_torchvision() -> Any:
    """Torchvision, also where its compiled operators are for another build of torch.

    Classification models need none of them, but the import fails without their names.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("needs the extra zoo: pip install 'partwise[zoo]'")
    library = Path(found.submodule_search_locations[0]) / "_C.so"
    try:
        torch.ops.load_library(str(library))
    except OSError:
        if "torchvision" not in sys.modules:
            names = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(names)
    import torchvision

    return torchvision


_KEPT: list[Any] = []


def torchvision_names() -> list[str]:
    """All classification models, the small ones first."""
    models = import_torchvision().models

    def parameters(name: str) -> int:
        return next(iter(models.get_model_weights(name))).meta["num_params"]

    return sorted(models.list_models(module=models), key=parameters)


def timm_names() -> list[str]:
    """The smallest model of each module, by parameters; counted once for each version of timm."""
    import_torchvision()
    import timm

    known = read_record(SMALLEST)
    if known.head.get("timm") == timm.__version__:
        return _by_size(known.rows)
    smallest = []
    for module in sorted(timm.models.list_modules()):
        names = [n for n in timm.models.list_models(module=module) if not n.startswith("test_")]
        counted = [(_parameters(name), name) for name in names]
        count, name = min(counted)
        smallest.append({"module": module, "name": name, "parameters": count})
    write_record(SMALLEST, smallest, timm=timm.__version__)
    return _by_size(smallest)


def _by_size(smallest: list[Row]) -> list[str]:
    return [r["name"] for r in sorted(smallest, key=lambda r: r["parameters"])]


def _parameters(name: str) -> int:
    import timm

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, pretrained=False)
    return sum(p.numel() for p in model.parameters())


def built(source: str, name: str, batch: int = 2) -> tuple[nn.Module, Tensor]:
    """A model with random weights, in evaluation mode, and the smallest pictures it takes."""
    torch.manual_seed(0)
    models = import_torchvision().models
    if source == "torchvision":
        options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        makers: list[Callable[..., nn.Module]] = [lambda **kw: models.get_model(name, **kw)]
        if name.startswith("vit"):
            patch = int(name.rpartition("_")[2])
            makers = [lambda **kw: models.get_model(name, image_size=4 * patch, **kw)]
            return makers[0]().eval(), torch.randn(batch, 3, 4 * patch, 4 * patch)
        return _fitted(makers[0](**options).eval(), SIZES, batch)
    import timm

    model = timm.create_model(name, pretrained=False).eval()
    size = model.default_cfg.get("input_size", (3, 224, 224))[-1]
    try:
        return _fitted(model, [s for s in SIZES if s < size], batch)
    except ValueError:
        pass
    for small in [s for s in SIZES if s < size]:
        try:
            other = timm.create_model(name, pretrained=False, img_size=small).eval()
            return _fitted(other, [small], batch)
        except Exception:  # noqa: BLE001
            continue
    return _fitted(model, [size], batch)


def _fitted(model: nn.Module, sizes: Any, batch: int) -> tuple[nn.Module, Tensor]:
    for size in sizes:
        example = torch.randn(batch, 3, size, size)
        try:
            with torch.no_grad():
                model(example)
        except Exception:  # noqa: BLE001
            continue
        return model, example
    raise ValueError(f"takes no pictures of {list(sizes)} pixels")


class Drawn:
    """Random numbers away from 0, of both signs."""

    def __init__(self, seed: int):
        self.source = torch.Generator().manual_seed(seed)

    def share(self, *shape: int) -> Tensor:
        """Uniform between 0 and 1."""
        return torch.rand(shape, generator=self.source)

    def numbers(self, shape: Any) -> Tensor:
        """Of size 0.5 to 1.5."""
        return (self.share(*shape) + 0.5) * ((self.share(*shape) < 0.5) * 2.0 - 1)


WRITERS = (nn.Linear, nn.modules.conv._ConvNd)


def thin(model: nn.Module, seed: int, rows: float, each: int, silenced: bool) -> None:
    """Draws all weights anew, most of them 0.

    Args:
        model: changed in place.
        seed: of the weights.
        rows: share of rows (output channels) that keep weights.
        each: how many input channels a row that is kept reads.
        silenced: whether the layers that read pictures ignore one of the three channels.
    """
    drawn, writers = Drawn(seed), [m for m in model.modules() if isinstance(m, WRITERS)]
    own = {id(m.weight) for m in writers}
    with torch.no_grad():
        for module in writers:
            weight = module.weight
            last = module is writers[-1]
            channels = weight.shape[1]
            place = drawn.share(*weight.shape[:2]).argsort(1)
            kept = place < min(each, channels)
            kept &= (drawn.share(len(weight)) < (min(rows, 0.7) if last else rows))[:, None]
            if silenced and channels == 3 and getattr(module, "groups", 1) == 1:
                kept[:, seed % 3] = False
            shaped = kept.reshape(*kept.shape, *[1] * (weight.ndim - 2))
            weight.copy_(drawn.numbers(weight.shape) * shaped)
            if isinstance(module.bias, Tensor):
                module.bias.copy_(0.3 * drawn.numbers(module.bias.shape))
        for parameter in model.parameters():
            is_constant = parameter.numel() and bool((parameter == parameter.flatten()[0]).all())
            if id(parameter) not in own and (parameter.ndim < 2 or is_constant):
                parameter.copy_(drawn.numbers(parameter.shape))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
                module.running_mean.copy_(0.3 * drawn.numbers(module.running_mean.shape))
                module.running_var.copy_(drawn.numbers(module.running_var.shape).abs())


def checked(model: nn.Module, units: Any, example: Tensor, budget_s: float = 20) -> Row:
    """What the units tell against what running tells, over several draws of sparse weights."""
    model, picture = model.double(), example[:1].double()
    lost, invented, shares, kinds = 0, 0, [], set()
    started = time.perf_counter()
    for seed, trial in enumerate(TRIALS):
        if seed and (time.perf_counter() - started) * (seed + 1) / seed > budget_s:
            break
        thin(model, seed, *trial)
        mode = Smooth(model)
        true = dependence(model, picture, seed, mode=mode)
        told = units.reaches(model)
        if told.shape != true.shape:
            why = f"{tuple(told.shape)} outputs and inputs are told of {tuple(true.shape)}"
            # Pixels of a patch that are channels of their own are input units of their own.
            finer = told.shape[0] == true.shape[0] and told.shape[1] > true.shape[1]
            return {"check": "none" if finer else "wrong", "check_reason": why}
        lost += int((true & ~told).sum())
        invented += int((told & ~true).sum())
        shares.append(float(true.float().mean()))
        kinds |= {name for name in mode.met if "softmax" in name or "attention" in name}
    return {
        "check": "wrong" if lost or (invented and not kinds) else "right",
        "lost": lost,
        "invented": invented,
        "attention": bool(kinds),
        "depends_frac": shares,
        "check_s": time.perf_counter() - started,
    }


def row(source: str, name: str) -> Iterator[Row]:
    """A model's row, first as far as reading goes, then with the check."""
    made: Row = {"source": source, "name": name}
    try:
        model, example = built(source, name)
    except Exception as error:  # noqa: BLE001
        yield made | {"outcome": "not built", "reason": _said(error)}
        return
    made |= {"parameters": sum(p.numel() for p in model.parameters())}
    made |= {"example": list(example.shape)}
    started = time.perf_counter()
    try:
        with within(READ_LIMIT_S):
            units = unit_map(model, example)
    except PartwiseError as error:
        made |= {"outcome": "refused", "reason": _said(error)}
    except (Exception, OutOfTime) as error:  # noqa: BLE001
        made |= {"outcome": "raw", "reason": _said(error)}
    else:
        made |= {"outcome": "read", "units": units.n, "blocks": len(units.blocks)}
    made |= {"read_s": time.perf_counter() - started}
    yield made
    if made["outcome"] != "read":
        return
    try:
        with within(CHECK_LIMIT_S):
            made |= checked(model, units, example)
    except (Exception, OutOfTime) as error:  # noqa: BLE001
        made |= {"check": "none", "check_reason": _said(error)}
    made |= {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    yield made


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (
        text[:300] if isinstance(error, PartwiseError) else f"{type(error).__name__}: {text}"[:300]
    )


def in_own_process(job: tuple[str, str]) -> Row:
    """The row that a process of its own makes; what it had, if it ends before its end."""
    source, name = job
    command = [sys.executable, "-m", "benchmarks.model_zoo", "--one", *job]
    done: Row = {"source": source, "name": name, "outcome": "raw", "reason": "no row"}
    limits = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=PROCESS_LIMIT_S,
            env={**os.environ, **limits}, check=False,
        )  # fmt: skip
        out, ending = ran.stdout, f"ended with {ran.returncode}: {ran.stderr[-200:]}"
    except subprocess.TimeoutExpired as late:
        out = late.stdout.decode() if isinstance(late.stdout, bytes) else (late.stdout or "")
        ending = f"more than {PROCESS_LIMIT_S} s"
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        return done | {"reason": ending}
    last = json.loads(lines[-1])
    unchecked = last.get("outcome") == "read" and "check" not in last
    return last | ({"check": "none", "check_reason": ending} if unchecked else {})


def resnet50_seconds() -> tuple[float, float]:
    """Time to read ResNet-50 on one picture of 224 pixels, and to make its graph of channels."""
    model = import_torchvision().models.resnet50().eval()
    example = torch.randn(1, 3, 224, 224)
    started = time.perf_counter()
    unit_map(model, example)
    read = time.perf_counter() - started
    started = time.perf_counter()
    unit_graph(model, example)
    return read, time.perf_counter() - started


def summary(rows: list[Row]) -> Row:
    """The counts of the record, and its rows."""
    record: Row = {}
    for source in ("torchvision", "timm"):
        outcomes = Counter(r["outcome"] for r in rows if r["source"] == source)
        record[source] = {
            "tried": sum(outcomes.values()),
            "read": outcomes["read"],
            "refused_by_name": outcomes["refused"],
            "raw": outcomes["raw"] + outcomes["not built"],
        }
    checks = Counter(r.get("check") for r in rows)
    record["jacobian_checked"] = checks["right"] + checks["wrong"]
    record["wrong"] = checks["wrong"]
    return record | {"details": sorted(rows, key=lambda r: (r["source"], r["name"]))}


def spoken(record: Row, below: int = 50_000_000) -> str:
    """The record's counts in words, and its reasons, most frequent first."""
    rows = record["details"]
    small = [r for r in rows if r["source"] == "torchvision" and r.get("parameters", 0) < below]
    lines = [json.dumps({key: value for key, value in record.items() if key != "details"})]
    lines.append(
        f"of torchvision's {len(small)} models below {below / 1e6:.0f}M parameters "
        f"{sum(r['outcome'] == 'read' for r in small)} are read"
    )
    lines += [f"{r['name']}: {r.get('reason')}" for r in rows if r["outcome"] != "read"]
    for r in rows:
        if r.get("check") not in (None, "right"):
            why = f"lost {r['lost']}, invented {r['invented']}" if "lost" in r else ""
            lines.append(f"{r['name']}: check {r['check']} {why}{r.get('check_reason', '')}")
    return "\n".join(lines)


def zoo_table(record: Record) -> str:
    """What came of reading the zoo, as a Markdown table for `benchmarks.tables`."""
    found = summary(record.rows)
    lines = ["| | tried | read | refused by name | other errors | checked | wrong |"]
    lines.append("|" + " --- |" * 7)
    for source in ("torchvision", "timm"):
        counts = found[source]
        checks = Counter(r.get("check") for r in record.rows if r["source"] == source)
        cells = [counts[key] for key in ("tried", "read", "refused_by_name", "raw")]
        cells += [checks["right"] + checks["wrong"], checks["wrong"]]
        lines.append(f"| {source} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def study(path: Path, only: list[str], workers: int) -> Row:
    """Makes the rows that the record lacks, and the record."""
    sources = {"torchvision": torchvision_names(), "timm": timm_names()}
    most = max(map(len, sources.values()))
    jobs = [
        (source, names[i])
        for i in range(most)
        for source, names in sources.items()
        if i < len(names)
    ]
    jobs = [job for job in jobs if not only or job[1] in only]
    log = path.with_suffix(".jsonl")
    if only:
        write_record(log, [row for row in read_rows(log) if row["name"] not in only])
    rows = run_all(jobs, in_own_process, log, ("source", "name"), "threads", workers)
    record = rounded(summary(rows))
    if log != path:
        write_json(path, record)
    return record


def main() -> None:
    """Parses the arguments and makes the record, or what it lacks of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", default=[], help="these models, again")
    parser.add_argument("--anew", action="store_true", help="forget the rows made so far")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--one", nargs=2, metavar=("SOURCE", "NAME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        for made in row(*given.one):
            print(json.dumps(made), flush=True)
        return
    if given.json is None:
        parser.error("--json FILE says where the record goes")
    if given.anew:
        given.json.with_suffix(".jsonl").unlink(missing_ok=True)
    print(spoken(study(given.json, given.only, given.workers)))
    read, graph = resnet50_seconds()
    print(f"ResNet-50: read in {read:.2f} s, graph of channels in {graph:.2f} s")


if __name__ == "__main__":
    main()
