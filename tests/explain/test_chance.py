"""Claims must leave chance behind, and say what was tested."""

import numpy as np
import pytest
import torch
from conftest import LABELS, and_or_network, and_or_task
from torch import nn

from partwise.explain import Description, explain, subject_of
from partwise.explain.claims import ActivationClaim, EffectClaim, NoEffectClaim, ProgramClaim
from partwise.explain.evidence import module_evidence
from partwise.explain.values import Evidence
from partwise.explain.verification import EVEN, verify_claims
from partwise.tasks import task_from_arrays


def noise_task(seed, share=0.5, rows=1000):
    rng = np.random.default_rng(seed)
    return task_from_arrays("noise", rng.normal(size=(rows, 6)), rng.random(rows) > share)


def untrained(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))


def test_a_unit_that_is_always_on_is_no_evidence():
    """s = .9: F1 = 1.8 / 1.9 = .947, whatever the unit does."""
    model, task = untrained(0), noise_task(0, share=0.9)
    with torch.no_grad():
        model[0].bias.fill_(50.0)
    subject = subject_of(model, np.zeros(20, int), task)
    claim = ActivationClaim(unit=6, condition="answer0 == 0", minimum_f1=0.8)
    (verdict,) = verify_claims(subject, [(module_evidence(subject, 0), claim)])
    share = float((subject.batch("claims").y == 0).float().mean())
    assert verdict.chance == pytest.approx(2 * share / (1 + share))
    assert verdict.low > 0.8
    assert (verdict.outcome, verdict.reason) == ("undecided", EVEN)


def test_the_most_frequent_answer_is_no_program():
    model, task = untrained(1), noise_task(1)
    with torch.no_grad():
        model[2].bias[1] = 50.0
    subject = subject_of(model, np.zeros(20, int), task)
    claim = ProgramClaim(head=0, program="1", agreement=0.5)
    (verdict,) = verify_claims(subject, [(module_evidence(subject, 0), claim)])
    assert verdict.effect == verdict.chance == 1.0
    assert verdict.outcome == "undecided"


def test_a_module_that_is_the_whole_network_proves_nothing():
    subject = subject_of(and_or_network(), np.zeros(8, int), and_or_task())
    claim = EffectClaim(head=0, minimum=0.1)
    (verdict,) = verify_claims(subject, [(module_evidence(subject, 0), claim)])
    assert verdict.effect == pytest.approx(verdict.chance)
    assert verdict.outcome == "undecided"


def test_labels_that_have_nothing_to_do_with_the_inputs_support_no_claim():
    counts = {"supported": 0, "all": 0}
    for seed in range(6):
        labels = np.random.default_rng(seed).integers(0, 2, 20)
        for each in explain(untrained(seed), labels, noise_task(seed)):
            kinds = ("activation", "effect", "no_effect")
            own = [v for v in each.verdicts if v.claim.kind in kinds]
            counts["supported"] += sum(v.outcome == "supported" for v in own)
            counts["all"] += len(own)
    assert counts["supported"] <= 0.01 * max(counts["all"], 100)


class Sarcastic:
    """A writer whose words have nothing to do with what it claims."""

    name = "sarcastic"

    def write(self, evidence: Evidence, neighbours=()):
        claims = (EffectClaim(sentence="This module detects sarcasm", head=0, minimum=0.0001),)
        return Description(name="sarcasm", sentence="Sarcasm.", paragraph="Sarcasm.", claims=claims)


def test_the_sentence_shown_is_the_sentence_tested():
    first, _ = explain(and_or_network(), LABELS, and_or_task(), Sarcastic())
    want = "Without this module the loss on 'both' rises by 0.0001 nats or more."
    assert first.verdicts[0].claim.sentence == want
    assert first.description.claims[0].sentence == want


def test_verdicts_carry_rows_unit_direction_and_the_number_of_claims():
    first, _ = explain(and_or_network(), LABELS, and_or_task())
    effect = next(v for v in first.verdicts if v.claim.kind == "effect")
    calm = next(v for v in first.verdicts if v.claim.kind == "no_effect")
    assert (effect.unit, effect.direction, calm.direction) == ("nats", "at least", "at most")
    assert effect.rows == effect.samples == 400
    assert effect.tested_with >= len(first.verdicts)


def test_few_rows_decide_little_and_say_how_many_would():
    x = np.array([[0.0, 1], [1, 0], [1, 1], [0, 0]] * 6)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    task = task_from_arrays("few", x, x[:, 0].astype(int))
    subject = subject_of(model, np.zeros(8, int), task)
    claim = ProgramClaim(head=0, program="x0 > 0.5", agreement=0.99)
    (verdict,) = verify_claims(subject, [(module_evidence(subject, 0), claim)])
    assert verdict.rows < 10
    assert verdict.outcome != "supported"


def test_rare_disasters_are_not_ruled_out_by_a_handful_of_rows():
    """Fewer than 20 rows: a change by ln 2 counts as possible."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    subject = subject_of(model, np.arange(12) % 2, task_from_arrays("few", x, x[:, 0] > 0))
    claim = NoEffectClaim(head=0, maximum=0.05)
    (verdict,) = verify_claims(subject, [(module_evidence(subject, 0), claim)])
    assert verdict.rows == 10
    assert verdict.outcome != "supported"
    assert verdict.high > 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_explained_alike(dtype):
    wanted = explain(and_or_network(), LABELS, and_or_task())
    found = explain(and_or_network().to(dtype), LABELS, and_or_task())
    for a, b in zip(wanted, found, strict=True):
        assert [v.outcome for v in a.verdicts] == [v.outcome for v in b.verdicts]
