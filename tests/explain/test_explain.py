from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import LABELS, and_or_network, and_or_task
from torch import nn

from partwise.errors import DataError
from partwise.explain import (
    Description,
    Failed,
    ProgramWriter,
    count_verdicts,
    explain,
    subject_of,
)
from partwise.explain.claims import (
    ActivationClaim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
    ProgramClaim,
)
from partwise.explain.evidence import interface_evidence, module_evidence
from partwise.explain.subject import Part
from partwise.explain.values import Explained, Share
from partwise.explain.verification import decide, try_on, verify_claim
from partwise.tasks import task_from_arrays
from partwise.tasks.task import Batch


def test_the_whole_network_is_read_right():
    first, second = explain(and_or_network(), LABELS, and_or_task())
    assert first.description.program == "x0 and x1"
    assert second.description.program == "x2 or x3"
    assert first.description.sentence == "Reads input 0 and input 1 and answers 'both'."
    outcomes = {v.outcome for each in (first, second) for v in each.verdicts}
    assert outcomes == {"supported"}
    assert first.evidence.effects[1].loss_after == pytest.approx(
        first.evidence.effects[1].loss_before
    )


def test_evidence_names_what_a_module_reads_and_feeds(subject):
    evidence = module_evidence(subject, 0)
    assert {share.name for share in evidence.reads} == {"input 0", "input 1"}
    assert [share.name for share in evidence.feeds] == ["both"]
    assert evidence.interface_frac == 0
    assert "both <- " in evidence.code


def test_modules_without_shared_edges_have_no_interface(subject):
    assert subject.interfaces == []


def test_an_interface_is_found_and_measured():
    model = and_or_network()
    with torch.no_grad():
        model[2].weight[0, 1] = -12.0  # 'both' now reads the other module
    subject = subject_of(model, LABELS, and_or_task())
    assert subject.interfaces == [(0, 1)]
    evidence = interface_evidence(subject, (0, 1))
    assert evidence.effects[0].loss_before > evidence.effects[0].loss_after
    assert evidence.effects[1].loss_before == pytest.approx(evidence.effects[1].loss_after)
    assert evidence.reads[0].name == "0[1] -> both"


def test_what_a_module_hears_from_another_may_matter(subject):
    alone = ProgramWriter().write(module_evidence(subject, 0))
    model = and_or_network()
    with torch.no_grad():
        model[2].weight[0, 1] = -12.0
    reader = subject_of(model, LABELS, and_or_task())
    reading = ProgramWriter().write(module_evidence(reader, 0))
    for words, claimed in ((alone, True), (reading, False)):
        assert any(isinstance(claim, IgnoresClaim) for claim in words.claims) == claimed


def test_a_module_without_outputs_informs_and_others_may_matter(subject):
    evidence = module_evidence(subject, 0)
    units = {**evidence.units, [*evidence.units][-1]: ()}
    passing = evidence.model_copy(update={"feeds": (Share(name="module 1", share=0.5),)})
    informing = ProgramWriter().write(evidence.model_copy(update={"units": units}))
    assert informing.name == "informs 'both'"
    assert informing.sentence == "Reads input 0 and input 1 and informs 'both'."
    for words in (informing, ProgramWriter().write(passing)):
        assert not any(isinstance(claim, IgnoresClaim) for claim in words.claims)


def test_evidence_never_sees_the_test_samples(subject):
    evidence = module_evidence(subject, 0)
    distinct = subject.task.distinct

    def other(split, most, rng):
        rows = distinct(split, most, rng)
        return rows if split == "train" else rows._replace(x=1 - rows.x, y=1 - rows.y)

    task = replace(subject.task, distinct=other)
    assert module_evidence(subject_of(subject.model, LABELS, task), 0) == evidence


def claims():
    """Claims about module 0 -> outcome."""
    true = "x0 > 0.5 and x1 > 0.5"
    return [
        (EffectClaim(head=0, minimum=0.5), "supported"),
        (EffectClaim(head=1, minimum=0.5), "refuted"),
        (NoEffectClaim(head=1, maximum=0.01), "supported"),
        (NoEffectClaim(head=0, maximum=0.01), "refuted"),
        (IgnoresClaim(inputs=(2, 3), head=0, maximum=0.01), "supported"),
        (IgnoresClaim(inputs=(1,), head=0, maximum=0.01), "refuted"),
        (ProgramClaim(head=0, program=true, agreement=0.95), "supported"),
        (ProgramClaim(head=1, program=true, agreement=0.95), "refuted"),
        (ActivationClaim(unit=4, condition=true, minimum_f1=0.9), "supported"),
        (ActivationClaim(unit=5, condition=true, minimum_f1=0.9), "refuted"),
        (EffectClaim(head=7, minimum=0.5), "refuted"),
        (ActivationClaim(unit=99, condition="1", minimum_f1=0.1), "refuted"),
        (IgnoresClaim(inputs=(99,), head=0, maximum=1), "refuted"),
        (ProgramClaim(head=0, program="x77", agreement=0.1), "refuted"),
        (InterfaceClaim(head=0, relation="at most", nats=1), "refuted"),
    ]


@pytest.mark.parametrize(("claim", "outcome"), claims())
def test_claims_are_tested(subject, claim, outcome):
    assert verify_claim(subject, module_evidence(subject, 0), claim).outcome == outcome


@pytest.mark.parametrize(
    "claim",
    [
        EffectClaim(head=0, minimum=0.01),
        NoEffectClaim(head=1, maximum=9.0),
    ],
)
def test_claims_about_modules_are_refuted_for_interfaces(claim):
    model = and_or_network()
    with torch.no_grad():
        model[2].weight[0, 1] = -12.0
    subject = subject_of(model, LABELS, and_or_task())
    verdict = verify_claim(subject, interface_evidence(subject, (0, 1)), claim)
    assert (verdict.outcome, verdict.samples) == ("refuted", 0)


def test_a_claim_at_its_bound_is_undecided(subject):
    x = subject.batch("claims").x
    share = ((x[:, 0] > 0.5) == (x[:, 0] * x[:, 1] > 0.5)).float().mean().item()
    claim = ProgramClaim(head=0, program="x0 > 0.5", agreement=round(share, 3))
    verdict = verify_claim(subject, module_evidence(subject, 0), claim)
    assert verdict.outcome == "undecided"
    assert verdict.low < share < verdict.high


def test_another_modules_description_is_refuted(subject):
    """A control that must fail: module 0 described in the words for module 1."""
    words = ProgramWriter().write(module_evidence(subject, 1))
    evidence = module_evidence(subject, 0)
    effects = [claim for claim in words.claims if claim.kind in ("effect", "no_effect")]
    assert effects
    assert all(verify_claim(subject, evidence, claim).outcome == "refuted" for claim in effects)


def test_effects_on_values_are_judged_by_their_variance():
    """Two small values, y0 = x0 / 10 and y1 = y0 + x1 / 10: no loss on them comes near 0.2."""
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 2))
    y = np.c_[x[:, 0], x.sum(1)] / 10
    task = task_from_arrays("small values", x, y, "value", heads=["first", "sum"])
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for i in range(2):
            model[0].weight[2 * i : 2 * i + 2, i] = torch.tensor([1.0, -1.0])
            model[2].weight[i:, 2 * i : 2 * i + 2] = torch.tensor([0.1, -0.1])
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1])
    explained = explain(model, labels, task)
    first, second, interface = (each.description for each in explained)
    assert (first.name, second.name) == ("answers 'first' and 'sum'", "answers 'sum'")
    assert interface.name == "carries: 0 and 1"
    assert "of squared error" in interface.claims[0].sentence
    assert {verdict.outcome for verdict in explained[2].verdicts} == {"supported"}


class Broken:
    name = "broken"

    def write(self, evidence, neighbours=()):
        return Failed(reason="it said nothing", raw_reply="")


def test_failures_are_counted_and_never_become_text():
    explained = explain(and_or_network(), LABELS, and_or_task(), Broken())
    assert count_verdicts(explained)["failed"] == 2
    assert all(each.verdicts == () for each in explained)


def test_explanations_survive_a_round_trip():
    for each in explain(and_or_network(), LABELS, and_or_task()):
        assert Explained.model_validate_json(each.model_dump_json()) == each


class Waves(torch.nn.Module):
    """A function that no short program follows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = torch.nn.Linear(12, 64), torch.nn.Linear(64, 1)

    def forward(self, x):
        return self.out(torch.sin(40 * self.into(x)))


def test_no_program_is_claimed_where_none_is_short():
    rng = np.random.default_rng(0)
    from partwise.tasks import task_from_arrays

    x = rng.normal(size=(2000, 12))
    task = task_from_arrays("noise", x, rng.integers(0, 2, 2000), "binary")
    model = Waves()
    (only,) = explain(model, np.zeros(77, int), task)
    assert isinstance(only.description, Description)
    assert only.description.program is None
    assert "No short program found." in only.description.paragraph


def test_labels_and_tasks_must_fit():
    with pytest.raises(DataError, match="3 labels for 8 units"):
        explain(and_or_network(), np.zeros(3, int), and_or_task())
    other = torch.nn.Sequential(torch.nn.Linear(5, 2))
    with pytest.raises(DataError, match="5 inputs"):
        explain(other, np.zeros(7, int), and_or_task())


def test_pictures_are_refused_with_what_is_wanted():
    """A convolution's one channel is one input, of which a row would have a value only."""
    task = and_or_task()
    convolution = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten())
    with pytest.raises(DataError, match=r"1 inputs .* give task_from_arrays as many columns"):
        explain(convolution, np.zeros(3, int), task)

    def pictures(split, size, rng):
        x, y = task.sample(split, size, rng)
        return Batch(x[:, :, None, None], y)

    with pytest.raises(
        DataError, match=r"batch of task .* \(1, 4, 1, 1\), wanted \(rows, inputs\)"
    ):
        subject_of(and_or_network(), LABELS, replace(task, sample=pictures))


def test_an_explanation_leaves_the_model_as_it_was():
    model = and_or_network().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    explain(model, LABELS, and_or_task())
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in model)


def test_a_module_with_many_inputs_ignores_none_of_its_own():
    wide = 200
    x = np.random.default_rng(0).normal(size=(400, wide))
    task = task_from_arrays("wide", x, (x[:, :1] > 0).astype(float), "binary", heads=["first"])
    model = nn.Sequential(nn.Linear(wide, 2), nn.ReLU(), nn.Linear(2, 1))
    labels = np.r_[np.zeros(150, int), np.ones(50, int), [0, 1], [0]]
    evidence = module_evidence(subject_of(model, labels, task), 0)
    assert len(evidence.units["input"]) == 150
    assert evidence.sized.startswith("150 in input")


def test_what_holds_of_the_network_alone_is_no_claim_about_another_module(subject):
    """Controls: moved to the other module, neither its program nor its blindness holds."""
    program = ProgramClaim(head=0, program="x0 and x1", agreement=0.9)
    blind = IgnoresClaim(inputs=(2, 3), head=0, maximum=0.1)
    for module, outcomes in ((0, ["supported"] * 2), (1, ["undecided", "refuted"])):
        part = Part("module", (module,))
        verdicts = decide([try_on(subject, part, claim) for claim in (program, blind)])
        assert [each.outcome for each in verdicts] == outcomes
