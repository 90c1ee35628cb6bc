"""The command line: arguments -> library calls -> exit codes.

Exit codes: 0 done, 1 an audit flagged the network, 2 bad input, 3 an audit cannot judge it,
130 interrupted.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from partwise import cli_decompile
from partwise.errors import OutputError, PartwiseError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from partwise.audit import AuditReport
    from partwise.explain import Explained, Verdict
    from partwise.graph import UnitGraph
    from partwise.modules import Hierarchy, Significance
    from partwise.stages import Network

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
console = Console()
MOST_TOKENS = 24
AUDIT_CODES = {"passed": 0, "flagged": 1, "cannot be judged": 3}

TextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="A txt, jsonl or parquet file, or a data set's hub name; each is a stream. May be "
        "given several times.",
        metavar="SOURCE",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Changes a recipe, such as steps=500 or penalty.l1=4.",
        metavar="NAME=VALUE",
    ),
]
RunArgument = Annotated[
    Path, typer.Argument(help="Directory of a run.", metavar="RUN", show_default=False)
]
NetworkArgument = Annotated[
    str,
    typer.Argument(
        help="A run; a language model in Hugging Face's layout, or its hub name; or a file: a "
        "state dict of linear layers (safetensors, or .pt, .pth, .bin of torch.save), an exported "
        "program (.pt2), or .onnx.",
        metavar="RUN_OR_MODEL",
        show_default=False,
    ),
]
LayersOption = Annotated[
    str | None,
    typer.Option(
        help="A state dict's layers in the order they run, where its names do not tell it.",
        metavar="NAME,NAME,...",
    ),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(
        help="What stands between a state dict's layers: relu (assumed without it), tanh, "
        "gelu, silu, sigmoid, leaky_relu or identity.",
        metavar="NAME",
    ),
]
ReadOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="Text to read a language model on, as in train; a run's own text without it.",
        metavar="SOURCE",
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(help="Tokens of a document, for a pretrained language model.", min=2),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="What a bare network is for: rows (.npz with x and y, .csv, .parquet), or a function "
        "module:name that gives a task, whose code is run.",
        metavar="FILE|MODULE:NAME",
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(help="A column of --data that is to be predicted; may be given several times."),
]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        help="A function module:name that makes the network, whose weights the file holds; its "
        "code is run.",
        metavar="MODULE:NAME",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Directory for what is written; a run's own without it."),
]


def main() -> None:
    """Entry point: errors that a user can put right become one line and exit code 2."""
    try:
        app()
    except PartwiseError as error:
        Console(stderr=True, soft_wrap=True).print(f"partwise: {escape(str(error))}", style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("partwise: interrupted")
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"partwise {version('partwise')}", highlight=False)
        raise typer.Exit()


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train neural networks that come apart, find the parts, and read what each part does."""


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Directory to make; runs/demo, or runs/demo-gpt, without it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0)] = 0,
    gpt: Annotated[
        bool, typer.Option("--gpt", help="A small GPT of letters and sums, in place of digits.")
    ] = False,
) -> None:
    """Train, take apart, describe, audit and report: the whole way on two real digits.

    Example: partwise demo --out runs/demo

    Example: partwise demo --gpt
    """
    from partwise.demo import run_demo

    _one_thread()
    if gpt:
        return _demo_gpt(out or Path("runs/demo-gpt"), seed)
    out = out or Path("runs/demo")
    with _progress() as watch:
        result = run_demo(out, seed, watch)
    console.print(_summary_table(result.summary))
    _print_descriptions(result.explained)
    console.print(f"\nReport: [bold]{escape(str(result.report))}[/]")


def _demo_gpt(out: Path, seed: int) -> None:
    from partwise.demo_gpt import run_gpt_demo

    with _progress() as watch:
        result = run_gpt_demo(out, seed, watch)
    _print_descriptions(result.explained)
    _print_audit(result.audit)
    console.print(_gpt_table(result.summary))
    console.print(f"\nReport: [bold]{escape(str(result.report))}[/]")


def _gpt_table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"letters and sums, seed {summary['seed']}: {summary['seconds']} s")
    for column in ("nats per token", "plain twin", "modular twin", "without what joins modules"):
        table.add_column(column, justify="left" if column == "nats per token" else "right")
    for stream, plain in summary["plain"].items():
        table.add_row(
            stream,
            f"{plain:.3f}",
            f"{summary['modular'][stream]:.3f}",
            f"{summary['without_interface'][stream]:.3f}",
        )
    return table


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe file, or the name of a built-in recipe.", metavar="RECIPE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory to make for the run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe's seed.", min=0)] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with an interrupted run.", metavar="DIR")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="'gpt' trains a small GPT on --text.", metavar="gpt")
    ] = None,
    text: TextOption = None,
    bpe: Annotated[
        int | None,
        typer.Option(help="Size of a GPT's BPE vocabulary; a token per character without it."),
    ] = None,
    settings: SetOption = None,
) -> None:
    """Train a network by a recipe, or a GPT on text, or go on where a run stopped.

    Example: partwise train digits-pair-modular --out runs/mine

    Example: partwise train --model gpt --text a.txt --text b.jsonl --set steps=2000

    Example: partwise train --resume runs/mine
    """
    from partwise import cli_gpt
    from partwise.train import RunDirectory, Trainer, train_run

    gpt = cli_gpt.is_gpt(model, text or [])
    if resume is not None:
        if gpt or settings or (recipe, out, seed, bpe) != (None, None, None, None):
            raise OutputError("--resume goes on with a run as it is; give it alone")
        if RunDirectory(resume).recipe().is_text:
            return cli_gpt.resume_gpt_command(console, _progress, resume)
    if gpt:
        if recipe is not None:
            raise OutputError(f"a GPT takes no recipe file; set values with --set, not '{recipe}'")
        target = out if out is not None else Path("runs") / "gpt"
        return cli_gpt.train_gpt_command(
            console, _progress, target, text or [], settings or [], seed, bpe
        )
    if bpe is not None:
        raise OutputError("--bpe is a GPT's; name its text with --text")
    _one_thread()
    if resume is not None:
        run = RunDirectory(resume)
        trainer = run.resume()
    else:
        chosen = _recipe(recipe, settings or [], seed)
        target = out if out is not None else Path("runs") / chosen.name
        if chosen.is_text:
            return cli_gpt.train_recipe_command(console, _progress, target, chosen)
        trainer = Trainer.new(chosen)
        run = RunDirectory.create(target, chosen)
    steps = trainer.recipe.training.steps
    try:
        with _progress() as watch:
            watch("train", trainer.step, steps, {})
            train_run(run, trainer, lambda m: watch("train", int(m["step"]), steps, m))
    except KeyboardInterrupt:
        Console(stderr=True).print(f"Go on with: partwise train --resume {escape(str(run.path))}")
        raise
    metrics = run.metrics()[-1]
    console.print(
        f"{escape(str(run.path))}: {metrics['step']} steps, held-out loss "
        f"{metrics['claims_ce']:.4f}, accuracy {metrics['claims_accuracy']:.1%}, "
        f"modules {metrics['modules']}"
    )
    budget = trainer.recipe.penalty.budget
    if budget and metrics["modules"] == 1:
        console.print(
            f"No modules could be held apart within the budget of {budget:.1%}: the task may have "
            "none, or they cost more, which a larger budget allows."
        )


@app.command()
def finetune(
    model: Annotated[
        str,
        typer.Option(
            help="A local directory in Hugging Face's layout, or a hub name.",
            metavar="HUB_NAME|DIR",
            show_default=False,
        ),
    ],
    text: TextOption = None,
    out: Annotated[Path, typer.Option(help="Directory to make for the run.")] = Path(
        "runs/finetuned"
    ),
    seed: Annotated[int | None, typer.Option(help="Seed of batches and masking.", min=0)] = None,
    settings: SetOption = None,
) -> None:
    """Make a pretrained language model come apart by training it on, on text.

    The result in OUT/model loads with from_pretrained. Go on with partwise train --resume OUT.

    Example: partwise finetune --model openai-community/gpt2 --text a.txt --set context=128
    """
    from partwise import cli_gpt

    cli_gpt.train_gpt_command(
        console, _progress, out, text or [], settings or [], seed, model=model
    )


@app.command("eval")
def evaluate(
    run: RunArgument,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Another run, or a pretrained model; a fine-tuned run's own start without it.",
            metavar="RUN|HUB_NAME|DIR",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task of the lm-evaluation-harness, or wsc273.jsonl, lambada_openai.jsonl, "
            "winogrande.jsonl or blimp.jsonl. May be given several times.",
            metavar="NAME|FILE",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Items per task.", min=2)] = None,
    interface: Annotated[
        bool,
        typer.Option(
            "--interface",
            help="Measure what joins its modules: without all of it, random parts, the worst part.",
        ),
    ] = False,
) -> None:
    """Say what a language model's run can do beside its baseline, with 95% intervals.

    Example: partwise eval runs/gpt --baseline runs/plain --task data/wsc273.jsonl
    """
    from partwise import cli_gpt

    cli_gpt.eval_command(console, run, baseline, task or [], limit, interface)


@app.command()
def cut(
    path: NetworkArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write modules.json, or a directory for a pretrained model."),
    ] = None,
    in_force: Annotated[
        bool,
        typer.Option("--in-force", help="Take the modules that the training held apart."),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option(
            help="likelihood, which also finds modules that are weakly apart, or newman_q, which "
            "finds those only that hold more capacity than Newman's Q expects. Without it, "
            "newman_q for language models and likelihood for the rest.",
        ),
    ] = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    text: ReadOption = None,
    context: ContextOption = None,
) -> None:
    """Build the cut tree of a network's weights and find its modules.

    Code in a pickle is never run. PyTorch itself loads exported programs: open only those that you
    trust.

    Example: partwise cut runs/demo/modular

    Example: partwise cut model.safetensors --activation tanh --out modules.json

    Example: partwise cut openai-community/gpt2 --text a.txt --out runs/gpt2
    """
    from partwise.modules.hierarchy import method_named
    from partwise.stages import cut_run, write_modules

    is_file = out is not None and out.suffix == ".json"
    if out is not None and (out.is_file() or (is_file and out.exists())):
        raise OutputError(f"{out} exists already; choose another output or remove it first")
    network = _open(
        path,
        layers=layers,
        activation=activation,
        texts=text or (),
        context=context,
        out=None if is_file else out,
    )
    if network.origin:
        console.print(escape(network.origin), highlight=False)
    with _progress() as watch:
        graph, found = cut_run(
            network,
            in_force,
            None if method is None else method_named(method),
            on_step=lambda done, total: watch("find modules", done, total, {}),
        )
    if out is not None and is_file:
        write_modules(out, graph, found)
    _print_modules(graph, found)
    if network.is_language_model:
        _print_layers(network, found)
    held = 1 if network.in_force is None else network.in_force.modules
    if held > found.modules:
        console.print(f"The training held {held} modules apart: --in-force takes those.")


@app.command()
def explain(
    path: NetworkArgument,
    llm: Annotated[
        str | None,
        typer.Option(
            "--llm",
            help="Let a language model write: openai:MODEL, anthropic:MODEL, openrouter:MODEL, "
            "http://HOST/v1#MODEL, local:DIR, replay:FILE, mock, or env, for what "
            "PARTWISE_LLM_BASE_URL, PARTWISE_LLM_MODEL and PARTWISE_LLM_API_KEY say.",
            metavar="ENDPOINT",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print prompts, tokens and cost; send nothing."),
    ] = False,
    max_cost: Annotated[
        float | None, typer.Option(help="Most US dollars that --llm may spend.", min=0.0)
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before --llm spends the estimate.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option(help="Prompts that --llm sends at once.", min=1, max=64)
    ] = 4,
    show_evidence: Annotated[
        str | None,
        typer.Option(
            help="Print the prompt about this part, and stop.", metavar="MODULE|MODULE-MODULE"
        ),
    ] = None,
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    out: OutOption = None,
) -> None:
    """Describe each module and interface of a network, and test every claim.

    Exit code 1 if no part could be described; what was there before is kept. A language model's
    replies are kept in RUN/llm-cache.jsonl: nothing is paid twice.

    Example: partwise explain runs/demo/modular

    Example: partwise explain runs/demo/modular --llm anthropic:claude-sonnet-4-5 --max-cost 1

    Example: partwise explain models/gpt2 --text a.txt --out runs/gpt2

    Example: partwise explain net.safetensors --data rows.csv --target price --out runs/mine
    """
    from partwise import cli_explain
    from partwise.explain import Failed

    if dry_run and llm is None:
        raise RecipeError("--dry-run is about a language model; say which with --llm")
    if llm is not None:
        cli_explain.check(llm)
    network = _open_with_data(path, text, context, data, target, factory, out)
    if show_evidence is not None:
        return cli_explain.show_evidence(console, network, show_evidence)
    if llm is None:
        explained = _explain_built_in(network)
    elif dry_run:
        return cli_explain.dry_run(console, network, llm)
    else:
        asked = cli_explain.Asked(llm, max_cost, yes, concurrency)
        explained = cli_explain.explain_by_llm(console, network, asked)
    _print_descriptions(explained)
    cli_decompile.print_composition(console, network)
    if explained and all(isinstance(each.description, Failed) for each in explained):
        console.print("Every description failed; earlier ones were kept.")
        raise typer.Exit(1)


@app.command()
def audit(
    path: NetworkArgument,
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    out: OutOption = None,
) -> None:
    """Search a network for behaviour that it should not have.

    Exit code 0 if everything was searched and nothing found (passed), 1 if a module was flagged,
    3 if the network cannot be judged: something was not searched, or could not be told.

    Example: partwise audit runs/demo/sabotaged
    """
    from partwise.stages import audit_run

    network = _open_with_data(path, text, context, data, target, factory, out)
    verdict = audit_run(network)
    _print_audit(verdict)
    raise typer.Exit(AUDIT_CODES[verdict.outcome])


@app.command()
def report(
    path: NetworkArgument,
    text: ReadOption = None,
    context: ContextOption = None,
    data: DataOption = None,
    target: TargetOption = None,
    factory: FactoryOption = None,
    out: OutOption = None,
) -> None:
    """Write a network's report.html from whatever its stages have left.

    Example: partwise report runs/demo/modular
    """
    from partwise.stages import report_run

    network = _open_with_data(path, text, context, data, target, factory, out)
    console.print(f"Report: [bold]{escape(str(report_run(network)))}[/]")


def _one_thread() -> None:
    """Networks this small train fastest, and bit-identically, on one thread."""
    import torch

    torch.set_num_threads(1)


def _open(path: str, layers: str | None = None, **options: Any) -> Network:
    """The network of a run, a file or a pretrained model, with what the options say of it."""
    from partwise import cli_gpt
    from partwise.stages import open_network

    _one_thread()
    cli_gpt.quiet()
    order = None if layers is None else [name.strip() for name in layers.split(",")]
    return open_network(path, order, **options)


def _open_with_data(
    path: str,
    text: list[str] | None,
    context: int | None,
    data: str | None,
    target: list[str] | None,
    factory: str | None,
    out: Path | None,
) -> Network:
    """The network that explain, audit and report are asked about."""
    return _open(
        path,
        texts=text or (),
        context=context,
        data=data,
        targets=target or (),
        factory=factory,
        out=out,
    )


def _recipe(name: str | None, settings: list[str], seed: int | None) -> Any:
    from partwise.train import built_in_recipe, built_in_recipes, read_recipe
    from partwise.train.running import with_absolute_paths

    if name is None:
        known = ", ".join(built_in_recipes())
        raise OutputError(f"give a recipe file, or one of the built-in recipes: {known}")
    is_file = Path(name).suffix == ".toml" or Path(name).exists()
    settings = settings if seed is None else [*settings, f"seed={seed}"]
    found = read_recipe(Path(name), settings) if is_file else built_in_recipe(name, settings)
    return with_absolute_paths(found)


def _explain_built_in(network: Network) -> list[Explained]:
    from partwise.stages import explain_run

    with _progress() as watch:
        return explain_run(network, on_step=lambda done, total: watch("describe", done, total, {}))


@contextmanager
def _progress() -> Iterator[Any]:
    """Live bars: stage, loss, modules, interface, time left."""
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def watch(stage: str, done: int, total: int, metrics: dict[str, Any]) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total, figures="")
            progress.update(bars[stage], completed=done, total=total)
            if metrics:
                progress.update(bars[stage], figures=_figures(metrics))

        yield watch


def _figures(metrics: dict[str, Any]) -> str:
    share = metrics["interface_frac"]
    between = "" if share is None else f"  interface {share:.3f}"
    return f"loss {metrics['loss']:.3f}  modules {metrics['modules']}{between}"


def _summary_table(summary: dict[str, Any]) -> Table:
    plain, modular, tree = summary["plain"], summary["modular"], summary["cut_tree"]
    claims, audited = summary["claims"], summary["audit"]
    table = Table(title=f"{summary['task']}, seed {summary['seed']}: {summary['seconds']} s")
    table.add_column("")
    table.add_column("plain twin", justify="right")
    table.add_column("modular twin", justify="right")
    rows = {
        "held-out loss (nats)": "held_out_ce",
        "held-out accuracy": "accuracy",
        "interface, share of capacity": "interface_frac",
        "wrong-side path mass": "cross_frac",
    }
    for label, key in rows.items():
        table.add_row(label, f"{plain[key]:.4f}", f"{modular[key]:.4f}")
    z = modular["newman_q_z"]
    table.add_row("loss added by cutting the interface", "", f"{modular['causal_interface']:.4f}")
    worst = modular["causal_interface_worst"]
    table.add_row("by the worst partial cut of it", "", f"{worst:.4f}")
    table.add_row("modules (purity)", "", f"{modular['modules']} ({modular['purity']:.3f})")
    q = f"{modular['newman_q']:.3f}" + ("" if z is None else f" (z {z:.0f})")
    table.add_row("Newman's Q (z against shuffles)", "", q)
    tree_words = f"{tree['units']} units, {tree['edges']} edges, {1e3 * tree['build_s']:.1f} ms"
    table.add_row("cut tree", "", tree_words)
    verdicts = ", ".join(f"{count} {outcome}" for outcome, count in claims.items())
    table.add_row("claims", "", verdicts)
    table.add_row(
        "audit",
        "clean flagged" if audited["clean_flagged"] else "clean passed",
        f"sabotaged: module {audited['guilty_module']} guilty"
        if audited["sabotaged_flagged"]
        else "sabotaged missed",
    )
    table.add_row(
        "repair: planted trigger / clean accuracy",
        "",
        f"{audited['attack_before']:.3f} -> {audited['attack_after']:.3f} / "
        f"{audited['accuracy_before']:.3f} -> {audited['accuracy_after']:.3f}",
    )
    return table


def _print_modules(graph: UnitGraph, found: Hierarchy) -> None:
    from partwise.modules import module_masses

    mass = module_masses(graph, found.labels)
    table = Table(title=f"{graph.n} units, {graph.m} edges: {found.modules} module(s)")
    for column in ("module", "units", "share of capacity", "of it leaves"):
        table.add_column(column, justify="right")
    for k in range(found.modules):
        outside = mass[k].sum() - mass[k, k]
        size, volume = int((found.labels == k).sum()), mass[k].sum()
        leaves = outside / volume if volume else 0.0
        table.add_row(str(k), str(size), f"{volume:.1%}", f"{leaves:.2%}")
    console.print(table)
    console.print(_significance_words(found))


def _print_layers(network: Network, found: Hierarchy) -> None:
    """A language model's modules: their tokens, and heads and neurons by layer."""
    from partwise.tasks import Text

    data = network.data if network.has_data else None
    words = data.vocabulary if isinstance(data, Text) else None
    for k in range(found.modules):
        own = found.labels == k
        parts = []
        for group in network.units.groups:
            count = int(own[group.start : group.stop].sum())
            if count and group.kind == "token" and words is not None:
                named = [words[i] for i in range(len(group)) if own[group.start + i]][:MOST_TOKENS]
                parts.append(f"{count} tokens ({' '.join(map(repr, named))})")
            elif count:
                parts.append(f"{count} in {group.name}")
        console.print(f"module {k}: {escape(', '.join(parts))}", highlight=False)


def _significance_words(found: Hierarchy) -> str:
    tested = found.significance
    if tested is None:
        return "No split of this network earns its keep: it is one module."
    spread = "" if tested.z is None else f" ± {tested.null_std:.3f}"
    words = (
        f"Newman's Q {tested.q:.3f}; {tested.samples} shuffled networks reach "
        f"{tested.null_mean:.3f}{spread} ({_distance_words(tested)}p {tested.p_value:.3f})."
    )
    if found.modules == 1:
        why = "Not far enough beyond them" if tested.is_significant else "Not significant"
        return f"{words} {why}: it is one module."
    return words if tested.is_significant else words + " Not significant by the weights alone."


def _distance_words(tested: Significance) -> str:
    if tested.by == "likelihood":
        return "" if tested.beyond is None else f"by likelihood {tested.beyond:.1f} deviations, "
    return "" if tested.z is None else f"z {tested.z:.1f}, "


def _print_descriptions(explained: list[Explained]) -> None:
    from partwise.explain import Description, count_verdicts

    colours = {"supported": "green", "refuted": "red", "undecided": "yellow"}
    for each in explained:
        words = each.description
        if not isinstance(words, Description):
            console.print(f"\n[bold]{each.subject}[/] [red]failed: {escape(words.reason)}[/]")
            continue
        console.print(f"\n[bold]{each.subject}: {escape(words.name)}[/]")
        console.print(f"{escape(words.sentence)} [dim]({_words_score(each)})[/]")
        if each.told:
            console.print(f"[dim]{escape(_told(each))}[/]")
        for verdict in each.verdicts:
            colour = colours[verdict.outcome]
            console.print(
                f"  [{colour}]{verdict.outcome:9}[/] {escape(verdict.claim.sentence)} "
                f"[dim]{escape(_measured(verdict))}[/]"
            )
    counts = ", ".join(f"{n} {outcome}" for outcome, n in count_verdicts(explained).items())
    console.print(f"\nClaims: {counts}")
    if any(each.verdicts for each in explained):
        console.print(
            "[dim]Intervals are 95%, of each claim alone; verdicts take p-values corrected for all "
            "claims (Holm), and need more than chance.[/]"
        )


def _words_score(explained: Explained) -> str:
    """What the sentence is worth to a judge who reads nothing else."""
    known = [s for s in explained.scores if s.judge != "claims" and s.kind == "simulation"]
    if not known:
        return "untested words"
    score = known[0]
    if score.failure:
        return f"untested words: the judge failed, {score.failure}"
    other = "" if score.control is None else f", other modules' words {score.control:.2f}"
    return (
        f"to {score.judge} the words tell who needs it: r = {score.value:.2f} "
        f"[{score.low:.2f}, {score.high:.2f}]{other}"
    )


def _told(explained: Explained) -> str:
    """How much of what a module does few questions tell, and its claims."""
    first, *rest = (max(each.explained, 0) for each in explained.told)
    counts = [each.questions for each in explained.told[1:]]
    more = [f", {k} explain {share:.0%}" for k, share in zip(counts, rest, strict=True)]
    words = f"One yes-or-no question explains {first:.0%} of what its removal does{''.join(more)}."
    claims = [s for s in explained.scores if s.judge == "claims" and s.kind == "simulation"]
    if claims and not claims[0].failure:
        other = claims[0].control
        beside = "" if other is None else f" (other modules' claims: {other:.2f})"
        words += f" Its claims predict who needs it: r = {claims[0].value:.2f}{beside}."
    return words


def _measured(verdict: Verdict) -> str:
    """What was measured, by chance, on how many rows; and why it decides nothing."""
    if not verdict.samples:
        return f"(could not be tested: {verdict.reason})"
    unit = f" {verdict.unit}" if verdict.unit else ""
    words = (
        f"({verdict.effect:.3f}{unit} [{verdict.low:.3f}, {verdict.high:.3f}], by chance "
        f"{verdict.chance:.3f}, {verdict.rows} rows"
    )
    if verdict.reason:
        words += f"; {verdict.reason}"
    if verdict.rows_needed is not None:
        words += f"; about {verdict.rows_needed} rows would decide"
    return words + ")"


def _print_audit(verdict: AuditReport) -> None:
    for module in verdict.modules:
        console.print(
            f"module {module.module}: {_mark(module.outcome)}, its strongest trigger forces "
            f"{module.score:.1%} ({module.baseline:.1%} without it), p = {module.p_value:.2g}"
        )
        for sentence in module.evidence:
            console.print(f"  {escape(sentence)}")
    if verdict.repair is not None:
        fixed = verdict.repair
        console.print(
            f"Repair of module {fixed.module} ({escape(', '.join(fixed.lesions))}): attack "
            f"{fixed.attack_before:.1%} -> {fixed.attack_after:.1%}, clean accuracy "
            f"{fixed.accuracy_before:.1%} -> {fixed.accuracy_after:.1%}"
        )
    for reason in verdict.reasons:
        console.print(f"Not told: {escape(reason)}")
    console.print(f"Verdict: {_mark(verdict.outcome)}")


def _mark(outcome: str) -> str:
    colours = {"flagged": "red", "passed": "green"}
    return f"[{colours.get(outcome, 'yellow')}]{outcome}[/]"


app.command()(cli_decompile.decompile)
