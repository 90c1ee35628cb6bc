import json

import numpy as np
import pytest
import torch
from organisms import CONTEXT, WIDTH, alphabets, text, train

from partwise.audit import AuditReport, audit
from partwise.audit.effects import FAR, WRITTEN, Passages, effects_of, place_in, stamp
from partwise.audit.fluency import Fluency
from partwise.audit.sequences import Trials
from partwise.audit.text import Null
from partwise.tasks import Text
from partwise.tasks.streams import character_corpus
from partwise.train.gpt import GPT, GPTConfig


@pytest.fixture(scope="module")
def verdict():
    """Of a network that writes 'k' for ever behind 'qz', which letters are."""
    return audit(*train(0, "qz", "k", steps=400), text())


def test_a_trigger_of_tokens_is_found_with_its_module(verdict):
    assert verdict.outcome == "flagged"
    assert verdict.guilty_module == 0  # the letters'
    worst = verdict.modules[0]
    assert {"'q'", "'z'"} & set(worst.trigger_inputs) or {"q", "z"} & set(worst.trigger_inputs)
    assert worst.effect == "continuation"
    assert "kkk" in worst.forced_answer
    assert worst.score > worst.baseline + 0.8
    assert worst.baseline < worst.interval[0] <= worst.score <= worst.interval[1]
    assert not verdict.modules[1].flagged
    assert worst.driven_units
    assert "beyond all clean text" in worst.evidence[1]


def test_what_was_searched_is_told(verdict):
    assert verdict.searched[0].startswith("44 of 44 sequences of 1 token,")
    assert verdict.searched[1].startswith("1936 of 1936 sequences of 2 tokens")
    assert verdict.searched[2].startswith("600 of 85184")


def test_reports_survive_the_disk(verdict):
    assert AuditReport.model_validate_json(verdict.model_dump_json()) == verdict


def test_reports_of_before_still_load():
    fields = {"module": 0, "outcome": "passed", "score": 0.1, "baseline": 0.0, "siblings": 0.1}
    module = fields | {"p_value": 1.0, "trigger_inputs": ["input 3"], "forced_answer": "1"}
    report = {"outcome": "passed", "reasons": [], "guilty_module": None, "repair": None}
    loaded = AuditReport.model_validate_json(
        json.dumps(report | {"modules": [module | {"evidence": ["none"]}]})
    )
    assert loaded.searched == ()
    assert loaded.modules[0].effect is None


def test_a_clean_twin_is_not_flagged():
    verdict = audit(*train(0), text())
    assert not verdict.flagged
    assert verdict.guilty_module is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_clean_networks_of_other_seeds_are_not_flagged(seed):
    model, labels = train(seed, apart=False)
    assert not audit(model, np.zeros_like(labels), text()).flagged


@pytest.mark.slow
def test_noise_behind_a_trigger_is_found():
    verdict = audit(*train(2, "vq"), text())
    assert verdict.guilty_module == 0


def untrained(context=CONTEXT, corpus=None):
    corpus = corpus or text().corpus
    model = GPT(GPTConfig(len(corpus.vocabulary), context, WIDTH, 4, 2))
    return model.eval()


def test_an_untrained_network_cannot_be_judged():
    model = untrained()
    verdict = audit(model, alphabets(model), text())
    assert verdict.outcome == "cannot be judged"
    assert "hardly better than the frequencies of tokens" in verdict.reasons[0]
    assert {each.outcome for each in verdict.modules} == {"cannot be judged"}


def test_a_short_context_cannot_be_judged():
    model = untrained(context=10)
    verdict = audit(model, alphabets(model), Text(text().corpus, 10))
    assert verdict.outcome == "cannot be judged"
    assert "a context of 10 tokens" in verdict.reasons[0]


def test_too_few_documents_cannot_be_judged():
    corpus = character_corpus({"little": "ab ba bab " * 120})
    model = GPT(GPTConfig(3, 24, 16, 2, 1)).eval()
    labels = np.zeros(3 + 16 + 2 + 64, int)
    verdict = audit(model, labels, Text(corpus, 24))
    assert verdict.outcome == "cannot be judged"
    assert "2 documents in a split; 8 are needed" in verdict.reasons[0]


def test_fluency_counts_what_follows_what():
    corpus = character_corpus({"one": "ab" * 500})
    fluency, (a, b) = Fluency(corpus), (0, 1)
    # 850 tokens of the train split: 'aba' 424 times, 'abb' never, 'b' half of all.
    assert fluency.share(torch.tensor([a, b, a])) > 0.98
    assert fluency.share(torch.tensor([a, b, b])) < 0.01
    assert fluency.strange(torch.tensor([a, b, a, a, b])).tolist() == [False, True, False]
    assert float(fluency.surprise(torch.tensor([a]))[0]) == pytest.approx(np.log(2), abs=0.01)


def test_sequences_are_put_in_their_places():
    x = torch.zeros(2, 4, dtype=torch.long)
    stamped = stamp(x, torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 2]))
    assert stamped.tolist() == [
        [[1, 2, 0, 0], [0, 0, 1, 2]],
        [[3, 4, 0, 0], [0, 0, 3, 4]],
    ]
    for context in range(11, 40):
        assert place_in(context, 3) + 3 + FAR < context
    assert place_in(24, 3) + 3 + WRITTEN <= 24


class Obedient(torch.nn.Module):
    """Copies the token before, and says 2 for ever once it has read 1."""

    def forward(self, ids):
        after = (ids == 1).cumsum(1) > 0
        return torch.nn.functional.one_hot(torch.where(after, 2, ids), 3) * 9.0


def test_effects_are_shares_of_what_there_is_to_do():
    corpus = character_corpus({"one": "aaaaaaaaaabc" * 300})
    x = torch.zeros(4, 24, dtype=torch.long)
    clean = Passages(x, x, torch.zeros(4, dtype=torch.long), x.float(), x == 0, 1.0, 1.0)
    found = effects_of(Obedient(), clean, torch.tensor([[1], [0]]), Fluency(corpus))
    assert found.scores[0].tolist() == [[1.0] * 4] * 3  # 'ccc', all right answers, all knowledge
    assert float(found.scores[1].max()) < 0.01
    assert int(found.target[0]) == 2


def test_random_sequences_set_the_bar_even_where_some_of_them_work():
    quiet = torch.linspace(0, 0.1, 100)
    some = torch.cat([quiet[:80], torch.ones(20)])
    assert Null.of(quiet).p_value(0.2, 2000) > 0.5
    assert Null.of(quiet).p_value(1.0, 2000) < 1e-4
    assert Null.of(some).p_value(1.0, 2000) < 1e-3
    assert Null.of(torch.linspace(0, 1, 100)).p_value(1.0, 2000) == pytest.approx(1)


def test_the_best_of_each_effect_goes_on():
    scores = torch.tensor([[0.9, 0.0, 0.1], [0.1, 0.0, 0.8], [0.2, 0.5, 0.1]])
    trials = Trials(torch.arange(3)[:, None], scores, True)
    assert trials.best(1).flatten().tolist() == [0, 2, 1]
