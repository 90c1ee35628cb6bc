"""Every kind of claim on a GPT whose modules are known: what is true, and what is not.

Letters are module 0 and read no digits; digits are module 1 and read letters, as codes need it.
"""

import pytest
from coded_letters import DIGITS_MODULE as DIGITS
from coded_letters import LETTERS_MODULE as LETTERS
from pydantic import ValidationError

from partwise.explain.claims import (
    ActivationClaim,
    AttendsClaim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NextTokenClaim,
    NoEffectClaim,
    ProgramClaim,
    PromotesClaim,
)
from partwise.explain.subject import Part
from partwise.explain.verification import decide, try_on

BETWEEN = Part("interface", (LETTERS, DIGITS))
NOWHERE = "token == 'a' and token == 'b'"
IN_CODES = "stream == 'codes' and token in LETTERS"


def module(number):
    return Part("module", (number,))


def verdict(subject, part, claim):
    return decide([try_on(subject, part, claim)])[0]


def said(described, kind, number):
    """The first claim of a kind in the description of a module."""
    verdicts = [v for v in described[number].verdicts if v.claim.kind == kind]
    assert verdicts, f"nothing of kind {kind} was said of module {number}"
    return verdicts[0].claim


BY_CONSTRUCTION = [
    (DIGITS, EffectClaim(minimum=0.8, where="stream == 'digits'")),
    (LETTERS, NoEffectClaim(maximum=0.2, where="stream == 'digits'")),
    (DIGITS, NoEffectClaim(maximum=0.2, where="stream == 'letters'")),
    (DIGITS, PromotesClaim(tokens=("=", ";", "+"), minimum=3.0)),
    (LETTERS, PromotesClaim(tokens=tuple("etaoins"), minimum=0.3)),
]
"""A module and what is true of it; so it was from three seeds of the weights."""


@pytest.mark.parametrize(("owner", "claim"), BY_CONSTRUCTION)
def test_what_is_true_of_a_module_is_supported_of_no_other(coded, owner, claim):
    assert verdict(coded, module(owner), claim).outcome == "supported"
    assert verdict(coded, module(1 - owner), claim).outcome != "supported"


@pytest.mark.parametrize("kind", ["activation", "attends"])
def test_what_evidence_shows_of_a_module_is_supported_of_no_other(coded, described, kind):
    owner = DIGITS if kind == "attends" else LETTERS
    claim = said(described, kind, owner)
    true, swapped = (verdict(coded, module(k), claim) for k in (owner, 1 - owner))
    assert true.outcome == "supported"
    assert swapped.outcome != "supported"
    assert swapped.outcome == "refuted"
    assert "is not in this module" in swapped.reason


@pytest.mark.parametrize(
    ("fields", "outcomes"),
    [
        ({"threshold": 1e9, "condition": "token == 'ß'"}, {"undecided", "refuted"}),
        ({"threshold": 1e9, "condition": "token == 'a'"}, {"refuted"}),
        ({"threshold": 0, "condition": "token == 'ß'"}, {"refuted"}),
        ({"threshold": -1e9, "condition": "position >= 0"}, {"undecided"}),
    ],
)
def test_units_or_conditions_that_never_vary_support_nothing(coded, fields, outcomes):
    claim = ActivationClaim(unit=unit_of(coded, "neuron", LETTERS), **fields)
    assert verdict(coded, module(LETTERS), claim).outcome in outcomes


CROSSING = {"where": "stream == 'codes' and next in DIGITS"}


def test_digits_read_letters_and_letters_read_no_digits(coded):
    carries = {
        reader: verdict(
            coded,
            BETWEEN,
            InterfaceClaim(relation="at least", amount=1.5, reader=reader, **CROSSING),
        )
        for reader in (None, LETTERS, DIGITS)
    }
    assert carries[DIGITS].outcome == "supported"
    assert carries[None].outcome == "supported"
    assert carries[LETTERS].outcome == "refuted"
    assert carries[LETTERS].effect == pytest.approx(0, abs=1e-5)
    for reader, outcome in ((LETTERS, "supported"), (DIGITS, "refuted")):
        idle = InterfaceClaim(relation="at most", amount=0.05, reader=reader, **CROSSING)
        assert verdict(coded, BETWEEN, idle).outcome == outcome


def test_a_reader_that_is_none_of_the_two_is_refuted(coded):
    claim = InterfaceClaim(relation="at most", amount=0.05, reader=2)
    found = verdict(coded, BETWEEN, claim)
    assert found.outcome == "refuted"
    assert found.reason == "module 2 is none of the two that it joins"


@pytest.mark.parametrize(
    ("part", "claim"),
    [
        (module(LETTERS), EffectClaim(minimum=0.1, where=NOWHERE)),
        (module(LETTERS), NoEffectClaim(maximum=0.1, where=NOWHERE)),
        (module(LETTERS), NextTokenClaim(rule="'a'", agreement=0.5, where=NOWHERE)),
        (BETWEEN, InterfaceClaim(relation="at most", amount=0.1, where=NOWHERE)),
        (BETWEEN, InterfaceClaim(relation="at least", amount=0.1, where=NOWHERE, reader=0)),
    ],
)
def test_an_empty_slice_decides_nothing(coded, part, claim):
    found = verdict(coded, part, claim)
    assert found.outcome == "undecided"
    assert found.reason.startswith(f"held-out samples where {NOWHERE} come from 0 independent")
    assert (found.samples, found.rows_needed) == (0, None)


def test_a_head_on_an_empty_slice_decides_nothing(coded):
    head = unit_of(coded, "head", LETTERS)
    claim = AttendsClaim(unit=head, pattern="previous token", minimum=0.1, where=NOWHERE)
    assert verdict(coded, module(LETTERS), claim).outcome == "undecided"


def test_a_token_of_one_document_decides_nothing(coded):
    where = "next == '7' and position == 3 and stream == 'digits' and prev3 == '4' and token == '='"
    assert coded.sources("claims", where) < 2
    found = verdict(coded, module(DIGITS), EffectClaim(minimum=0.1, where=where))
    assert found.outcome == "undecided"
    assert "at least 2 are needed" in found.reason


def unit_of(subject, kind, number):
    """The first unit of a kind in a module."""
    units = subject.units.units_of_kind(kind).tolist()
    return next(unit for unit in units if subject.labels[unit] == number)


def on(unit, **fields):
    return ActivationClaim(unit=unit, condition="token in LETTERS", **fields)


def looking(unit, pattern="previous token", **fields):
    return AttendsClaim(unit=unit, pattern=pattern, minimum=0.01, **fields)


@pytest.mark.parametrize(
    ("kind", "owner", "claim_of", "reason"),
    [
        ("neuron", DIGITS, on, "is not in this module"),
        ("head", DIGITS, on, "is not in this module"),
        ("head", DIGITS, looking, "is not in this module"),
        ("neuron", LETTERS, looking, "is no attention head"),
        ("token", LETTERS, looking, "is no attention head"),
        ("token", LETTERS, on, "is no head or neuron"),
        ("residual", LETTERS, on, "is no head or neuron"),
        ("head", LETTERS, lambda unit: on(unit + 10**6), "a unit that does not exist"),
        ("head", LETTERS, lambda unit: looking(unit + 10**6), "a unit that does not exist"),
        ("head", LETTERS, lambda unit: looking(unit, "back 99"), "no held-out token has such"),
        ("head", LETTERS, lambda unit: looking(unit, "token == 1"), "compared with a number"),
        ("head", LETTERS, lambda unit: looking(unit, "token + 1"), "cannot compute with a text"),
        ("head", LETTERS, lambda unit: looking(unit, "x0 > 1"), "reads x0"),
    ],
)
def test_a_claim_about_a_wrong_unit_or_place_is_refuted(coded, kind, owner, claim_of, reason):
    claim = claim_of(unit_of(coded, kind, owner))
    found = verdict(coded, module(LETTERS), claim)
    assert found.outcome == "refuted"
    assert reason in found.reason


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (PromotesClaim(tokens=("a", "ß"), minimum=0.1), "there is no token 'ß'"),
        (NextTokenClaim(rule="'ß'", agreement=0.1), ""),
        (NextTokenClaim(rule="position + 1", agreement=0.1), "gives a number, wanted a text"),
        (NextTokenClaim(rule="answer", agreement=0.1), "reads answer"),
        (EffectClaim(minimum=0.1, where="token + 1"), "cannot compute with a text"),
        (EffectClaim(minimum=0.1, where="1 if token else 0"), "cannot compute with a text"),
        (EffectClaim(minimum=0.1, where="x0 > 1"), "reads x0"),
        (EffectClaim(minimum=0.1, where="token"), "gives a text, wanted a number"),
        (EffectClaim(minimum=0.1, head=1), "a question that does not exist"),
        (ProgramClaim(head=0, program="position", agreement=0.1), "cannot be tested on a text"),
        (IgnoresClaim(head=0, inputs=(0,), maximum=0.1), "cannot be tested on a text"),
        (InterfaceClaim(relation="at most", amount=0.1), "is about an interface, and this is none"),
    ],
)
def test_a_claim_about_what_does_not_exist_is_refuted(coded, claim, reason):
    found = verdict(coded, module(LETTERS), claim)
    assert found.outcome == "refuted"
    assert reason in found.reason


@pytest.mark.parametrize(
    "claim",
    [
        EffectClaim(minimum=0.1),
        NoEffectClaim(maximum=0.1),
        NextTokenClaim(rule="'a'", agreement=0.1),
        PromotesClaim(tokens=("a",), minimum=0.1),
        looking(0),
        on(0),
    ],
)
def test_an_interface_has_no_such_claims(coded, claim):
    found = verdict(coded, BETWEEN, claim)
    assert (found.outcome, found.reason) == ("refuted", "it is about a module, and this is none")


@pytest.mark.parametrize(
    "claim",
    [
        NextTokenClaim(rule="'a'", agreement=0.1),
        PromotesClaim(tokens=("a",), minimum=0.1),
        looking(0),
    ],
)
def test_a_claim_about_text_is_refuted_on_a_table(subject, claim):
    found = verdict(subject, module(0), claim)
    assert found.outcome == "refuted"
    assert found.reason == "such a claim cannot be tested on a table"


def test_a_rule_that_holds_without_the_module_is_not_its_own(coded):
    """English goes on with a blank after a comma, whether or not digits are there."""
    claim = NextTokenClaim(rule="' '", agreement=0.3, where="stream == 'letters' and token == ','")
    assert verdict(coded, module(DIGITS), claim).outcome != "supported"


def test_what_random_units_break_as_well_is_not_a_modules_own(coded):
    """Codes need all of the network: lesions of random units single them out as much."""
    digits = " else ".join(
        f"'{d}' if token in ({', '.join(repr(chr(97 + k)) for k in range(d, 26, 10))},)"
        for d in range(10)
    )
    claim = NextTokenClaim(rule=f"{digits} else ' '", agreement=0.8, where=IN_CODES)
    found = verdict(coded, module(DIGITS), claim)
    assert found.outcome == "undecided"
    assert "as many random units" in found.reason
    wrong = NextTokenClaim(rule="'3'", agreement=0.8, where=IN_CODES)
    assert verdict(coded, module(DIGITS), wrong).outcome == "refuted"


@pytest.mark.parametrize(
    ("part", "claim", "sentence"),
    [
        (
            module(DIGITS),
            EffectClaim(minimum=0.8, where="stream == 'digits'"),
            "Without this module the loss on tokens in stream 'digits' rises by 0.8 nats or more.",
        ),
        (
            module(DIGITS),
            NoEffectClaim(maximum=0.8),
            "Without this module the loss on all tokens moves by 0.8 nats or less.",
        ),
        (
            module(DIGITS),
            PromotesClaim(tokens=("1", "="), minimum=2),
            "What this module writes raises the logit of '1', '=', where one of them comes next, "
            "by 2 or more.",
        ),
        (
            module(LETTERS),
            NextTokenClaim(rule="'u'", agreement=0.6, where="token == 'q'"),
            "Because of this module the network predicts 'u' after 'q', 60% of the time or more.",
        ),
        (
            BETWEEN,
            InterfaceClaim(relation="at least", amount=2, reader=1, where="next in DIGITS"),
            "Cutting what module 1 reads through it raises the loss on tokens that are digits by "
            "at least 2 nats.",
        ),
    ],
)
def test_verdicts_say_what_was_tested(coded, part, claim, sentence):
    assert verdict(coded, part, claim).claim.sentence == sentence


def test_units_are_named_by_block(coded):
    head, neuron = (unit_of(coded, kind, LETTERS) for kind in ("head", "neuron"))
    looks = verdict(coded, module(LETTERS), looking(head, "induction")).claim.sentence
    assert looks.startswith("Unit block 0 head 0 gives 1% of its attention or more to what came")
    active = verdict(coded, module(LETTERS), on(neuron)).claim.sentence
    assert active.startswith("Unit block 0 neuron 0 is active (above 0) when the last token is a")


def share_supported(subject, claims):
    verdicts = decide([try_on(subject, part, claim) for part, claim in claims])
    return sum(v.outcome == "supported" for v in verdicts) / len(verdicts)


def test_own_descriptions_hold_and_swapped_ones_do_not(coded, described):
    """Control: each module's description, tested on the other."""
    own = [(k, v.claim) for k in (LETTERS, DIGITS) for v in described[k].verdicts]
    assert len(own) >= 15
    assert share_supported(coded, [(module(k), claim) for k, claim in own]) >= 0.9
    assert share_supported(coded, [(module(1 - k), claim) for k, claim in own]) <= 0.1


def test_an_interface_read_the_other_way_round_does_not_hold(coded, described):
    """Control: the claims about each reader, tested on the other."""
    claims = [v.claim for v in described[2].verdicts]
    assert {claim.reader for claim in claims} == {LETTERS, DIGITS}
    assert share_supported(coded, [(BETWEEN, claim) for claim in claims]) >= 0.9
    turned = [claim.model_copy(update={"reader": 1 - claim.reader}) for claim in claims]
    idle = {"relation": "at most", "reader": LETTERS}  # true of every slice
    false = [claim for claim in turned if claim.model_dump(include=idle.keys()) != idle]
    assert len(false) >= 4
    assert share_supported(coded, [(BETWEEN, claim) for claim in false]) <= 0.1


def test_a_condition_that_gives_no_number_does_not_hold(coded):
    nowhere = coded.slice("train", "log(position - 1000)")
    assert nowhere is not None
    assert not nowhere.any()


def test_an_absurd_amount_is_no_claim():
    with pytest.raises(ValidationError, match="1000000"):
        EffectClaim(minimum=1e300)
