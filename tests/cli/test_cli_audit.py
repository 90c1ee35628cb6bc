import sys

import pytest

from partwise.audit import AuditReport, ModuleSuspicion
from partwise.cli import main
from partwise.cli.audit import CODES
from partwise.errors import DataError
from partwise.stages import _read_audit


def report(outcome):
    module = ModuleSuspicion(
        module=0, outcome=outcome, score=0.9, baseline=0.1, siblings=0.2, p_value=0.001,
        trigger_inputs=("a",), forced_answer="'q' = 1", evidence=("Setting a = 1.",),
    )  # fmt: skip
    reasons = ("'q' was not searched: why.",) if outcome == "cannot be judged" else ()
    guilty = 0 if outcome == "flagged" else None
    return AuditReport(
        outcome=outcome, reasons=reasons, guilty_module=guilty, modules=(module,), repair=None
    )


@pytest.mark.parametrize(("outcome", "code"), CODES.items())
def test_each_outcome_has_its_exit_code_and_says_what_was_not_searched(
    outcome, code, monkeypatch, capsys
):
    monkeypatch.setattr("partwise.cli.opening.opened", lambda output, path, **options: None)
    monkeypatch.setattr("partwise.stages.audit_run", lambda network: report(outcome))
    monkeypatch.setattr(sys, "argv", ["partwise", "audit", "runs/any"])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().out
    assert stopped.value.code == code
    assert f"Verdict: {outcome}" in said
    assert ("Not told: 'q' was not searched" in said) == (code == 3)
    assert {"passed": 0, "flagged": 1, "cannot be judged": 3}[outcome] == code


def test_an_audit_of_an_older_partwise_is_refused_by_name(tmp_path):
    path = tmp_path / "audit.json"
    path.write_text('{"flagged": false, "guilty_module": null, "modules": [], "repair": null}')
    with pytest.raises(DataError, match=r"audit\.json is damaged, or an older Partwise wrote it"):
        _read_audit(path)
    path.write_text(report("passed").model_dump_json())
    assert _read_audit(path) == report("passed")
