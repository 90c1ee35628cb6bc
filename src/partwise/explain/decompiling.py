"""A network as a Python file: what its modules do, as programs, and where they do not do it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from partwise.errors import DataError
from partwise.explain.composition import ComposedHead, Composition, compose
from partwise.explain.evidence.texts import rules_of
from partwise.explain.subject import Subject
from partwise.explain.values import Rule
from partwise.programs.export import Answer, Checked, python_file
from partwise.programs.export_text import EVERYWHERE, TextRule, text_file
from partwise.programs.fit import Table, Target, find_program
from partwise.programs.language import parse_program
from partwise.programs.wording import in_words
from partwise.tasks.task import loss_unit

MOST_WORDS = 600
READ = ("token", "prev", "prev2", "induced", "stream")
LOOKUPS = ("lookup", "rule list")


def decompile(subject: Subject, title: str, price: float = 1.0) -> tuple[str, str]:
    """The text of a file whose `predict` answers as the modules' programs do; and how well.

    Args:
        subject: the network, taken apart; of tables.
        title: what the network is called.
        price: what a program's bit costs, beside a bit that corrects its answers.
    """
    composition = compose(subject, price)
    answers = [_answer(subject, head) for head in composition.heads]
    text = python_file(
        _title(title, composition),
        subject.task.inputs,
        answers,
        subject.modules,
        _checked(subject),
    )
    return text, composition.words


def _title(title: str, composition: Composition) -> Iterator[str]:
    yield f"{title}: its modules as programs, written by Partwise. It needs NumPy only."
    yield composition.words
    for head in composition.heads:
        yield (
            f"{head.name}: loss {head.loss_program:.4g} {loss_unit(head.kind)}, the network "
            f"{head.loss_network:.4g}, without modules {head.loss_without:.4g}; right on "
            f"{head.accuracy_program:.1%}, the network on {head.accuracy_network:.1%}."
        )


def _answer(subject: Subject, head: ComposedHead) -> Answer:
    program = None if head.program is None else parse_program(head.program)
    return Answer(
        name=head.name,
        module=head.module,
        program=program,
        otherwise=head.usual,
        notes=tuple(_notes(subject, head)),
    )


def _notes(subject: Subject, head: ComposedHead) -> Iterator[str]:
    if head.program is None:
        yield f"No short program was found for '{head.name}': this is the commonest answer."
    else:
        yield program_words(subject, head.head, head.program)[:MOST_WORDS]
    yield (
        f"It is the network's answer on {head.fidelity:.1%} of held-out samples (95% interval "
        f"{head.low:.1%} to {head.high:.1%}; the commonest answer: {head.chance:.1%})."
    )
    for miss in head.misses:
        yield (
            f"Where the network answers {miss.answer:g} it says something else on "
            f"{miss.share:.1%}, mostly {miss.given:g}."
        )


def program_words(subject: Subject, head: int, program: str) -> str:
    """A program in words, with the names of inputs and of the question."""
    names = {f"x{k}": f"'{name}'" for k, name in enumerate(subject.names.inputs)}
    return in_words(parse_program(program), names, f"'{subject.names.heads[head]}'") + "."


def _checked(subject: Subject) -> Checked:
    heads = range(len(subject.task.heads))
    network = torch.stack([subject.answers("final", head) for head in heads], 1)
    measures_spread = [float(subject.rows("train").y[:, k].std(correction=0)) for k in heads]
    within = [
        0.1 * measures_spread[k] if subject.task.heads[k].kind == "value" else 0.5 for k in heads
    ]
    return Checked(subject.batch("final").x.tolist(), network.tolist(), within)


def decompile_text(subject: Subject, title: str) -> tuple[str, str]:
    """The text of a file that predicts next tokens as the modules' rules do; and how well.

    Args:
        subject: a language model, taken apart.
        title: what the network is called.

    Raises:
        DataError: if no module has a rule.
    """
    rules = [
        _text_rule(subject, module, rule)
        for module in range(subject.modules)
        for rule in rules_of(subject, module)
    ]
    rules += _rules_of_all(subject)
    if not rules:
        raise DataError(f"no module of {title} predicts by a short rule: there is nothing to write")
    words = _coverage(subject, rules)
    lines = [f"{title}: its modules' rules, written by Partwise. It needs NumPy only.", words]
    return text_file(lines, rules, subject.modules), words


def _rules_of_all(subject: Subject) -> list[TextRule]:
    """The program that gives the network's next tokens from those before, if a short one does."""
    variables = subject.variables("train")
    sources = subject.rows("train").sources[:, 0]
    documents = np.random.default_rng((subject.seed, 5)).permutation(np.unique(sources))
    order = np.argsort(np.argsort(documents)[sources], kind="stable")
    table = Table({name: variables[name] for name in READ}).part(order)
    answers = subject.answers("train", 0).double().numpy()[order]
    found = find_program(table, Target(answers, words=subject.text.vocabulary), forms=LOOKUPS)
    if found is None:
        return []
    rule = Rule(rule=found.program.text, where="", agreement=found.fidelity, safe=0, without=0)
    return [_text_rule(subject, EVERYWHERE, rule)]


def _text_rule(subject: Subject, module: int, rule: Rule) -> TextRule:
    """A rule, measured on `final` tokens."""
    given = _tokens_given(subject, rule.rule)
    among = subject.slice("final", rule.where)
    agrees = (given == subject.answers("final", 0)).numpy()
    chosen = agrees if among is None else agrees[among]
    estimate = subject.resampling("final").mean(agrees.astype(float), (0.0, 1.0), among)
    low, high = estimate.interval()
    note = (
        f"The network's likeliest token on {estimate.mean:.1%} of {len(chosen)} held-out tokens "
        f"(95% interval {low:.1%} to {high:.1%})."
    )
    where = parse_program(rule.where) if rule.where else None
    return TextRule(module, parse_program(rule.rule), where, estimate.mean, note)


def _tokens_given(subject: Subject, rule: str) -> torch.Tensor:
    given = parse_program(rule).evaluate_text(subject.variables("final"))
    return given.over(subject.text.vocabulary).float()


def _coverage(subject: Subject, rules: list[TextRule]) -> str:
    """How many tokens the rules say something of, and how often that is the network's answer."""
    answers = subject.answers("final", 0)
    said = torch.full_like(answers, -1)
    for rule in sorted(rules, key=lambda each: each.agreement):
        given = _tokens_given(subject, rule.rule.text)
        where = subject.slice("final", "" if rule.where is None else rule.where.text)
        holds = given >= 0
        said = torch.where(holds if where is None else holds & torch.from_numpy(where), given, said)
    covered = said >= 0
    right = (said == answers)[covered].float().mean() if covered.any() else torch.zeros(())
    return (
        f"{len(rules)} rules say what comes next after {covered.float().mean():.1%} of "
        f"{len(answers)} held-out tokens, and give the network's likeliest token on "
        f"{float(right):.1%} of these; of the rest they say nothing."
    )
