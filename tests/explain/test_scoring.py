import json

import numpy as np
import pytest

from partwise.explain import ProgramWriter
from partwise.explain.endpoints import MockEndpoint
from partwise.explain.explain import explain_subject
from partwise.explain.questions import lesion_effects, told_in_questions
from partwise.explain.scoring import (
    ClaimJudge,
    EndpointJudge,
    balanced,
    correlation,
    f1,
    fuzzing,
    samples_of,
    score_words,
)
from partwise.explain.values import Description

EVEN = np.ones((1, 4000))
RNG = np.random.default_rng(0)
TRUE = (RNG.random(4000) < 0.05).astype(float)


def words(name, *claims):
    given = {"name": name, "sentence": f"serves {name}", "paragraph": name, "claims": claims}
    return Description.model_validate(given)


BOTH = words("both", {"kind": "effect", "head": 0, "minimum": 0.3})
EITHER = words("either", {"kind": "effect", "head": 1, "minimum": 0.3})


def test_correlation_is_that_of_pearson():
    a, b = RNG.normal(size=4000), RNG.normal(size=4000)
    assert correlation(EVEN, a, b)[0] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(EVEN, np.ones(4000), b)[0] == 0


@pytest.mark.parametrize("measure", [correlation, f1])
def test_a_score_falls_with_missing_and_with_extra_labels(measure):
    """The two checks of Oikarinen et al. (2025), section 5."""
    missing = TRUE * (RNG.random(4000) < 0.5)
    extra = np.maximum(TRUE, RNG.random(4000) < 0.05)
    whole = measure(EVEN, TRUE, TRUE)[0]
    assert whole == pytest.approx(1)
    for changed in (missing, extra):
        assert measure(EVEN, changed, TRUE)[0] < whole - 0.2


def test_hit_rates_do_not_notice_extra_labels():
    extra = np.maximum(TRUE, RNG.random(4000) < 0.05)
    assert balanced(EVEN, extra, TRUE)[0] > 0.95


def test_claims_tell_which_samples_suffer_and_the_other_module_does_not(subject):
    for own in score_words(subject, [BOTH, EITHER], ClaimJudge()):
        simulation, detection = own
        assert simulation.value > 0.3 > simulation.control
        assert simulation.low <= simulation.value <= simulation.high
        assert detection.value > 0.35 > detection.control


def test_a_model_that_knows_is_told_from_one_that_guesses(subject):
    samples = list(samples_of(subject, 100))
    effects = [lesion_effects(subject, "final", m) for m in range(2)]

    def knows(prompt):
        module = 0 if "serves both" in prompt.text else 1
        given = json.loads(prompt.text.split("predicted:\n")[1].split("\n\nReply")[0])
        places = {sample.text: sample.place for sample in samples}
        suffer = [effects[module][places[each["text"]]] > 0.1 for each in given]
        return json.dumps({"ratings": [9 * bool(each) for each in suffer]})

    for judge, least, most in ((knows, 0.7, 1), (guesses, -0.4, 0.4)):
        scores = score_words(subject, [BOTH, EITHER], EndpointJudge(MockEndpoint(judge)), 100)
        assert all(least < own[0].value <= most for own in scores)


def guesses(prompt):
    count = prompt.schema["properties"]["ratings"]["maxItems"]
    return json.dumps({"ratings": RNG.integers(0, 10, count).tolist()})


@pytest.mark.parametrize("reply", ["{}", '{"ratings": [1]}', "no", '{"ratings": [99]}', "[1]"])
def test_a_reply_without_ratings_is_a_failure_that_says_why(subject, reply):
    judge = EndpointJudge(MockEndpoint(lambda prompt: reply))
    (own, _) = score_words(subject, [BOTH, EITHER], judge, 20)
    assert all("ratings" in score.failure for score in own)


def test_text_is_judged_with_the_next_token_marked(coded):
    for sample in samples_of(coded, 20):
        assert sample.text.count("«") == 1


def test_fuzzing_marks_rightly_and_wrongly_by_turns(coded):
    judge = EndpointJudge(MockEndpoint(guesses))
    for (score,) in fuzzing(coded, [BOTH, EITHER], judge):
        assert score.samples > 10
        assert score.low < 0.5 < score.high or abs(score.value - 0.5) < 0.3


def test_few_questions_tell_what_a_module_of_one_question_does(subject):
    told = told_in_questions(subject, 0)
    assert [each.questions for each in told] == [1, 4, 16]
    assert told[0].explained > 0.3
    assert told[1].explained > 0.9
    assert "'both'" in told[0].answers[0][0]


def test_shuffled_effects_tell_nothing(subject):
    assert all(each.explained < 0.05 for each in told_in_questions(subject, 0, shuffled=1))


def test_questions_about_text_name_tokens(coded):
    told = told_in_questions(coded, 0, (1, 4))
    assert told[1].explained > told[0].explained > 0.1
    assert all(words.startswith("on tokens ") for words, _ in told[1].answers)


def test_an_explanation_shows_what_its_words_are_worth(subject):
    judge = EndpointJudge(MockEndpoint(guesses))
    *modules, interface = explain_subject(subject, ProgramWriter(), judge=judge)
    for each in modules:
        assert [told.questions for told in each.told] == [1, 4, 16]
        assert [(s.kind, s.judge) for s in each.scores] == [
            ("simulation", "claims"), ("detection", "claims"),
            ("simulation", "mock"), ("detection", "mock"),
        ]  # fmt: skip
    assert interface.evidence.kind == "module" or not interface.scores
