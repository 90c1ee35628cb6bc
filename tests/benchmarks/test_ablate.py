from benchmarks.ablate import RULES, rules_table
from benchmarks.records import Record


def test_a_rule_is_watched_and_switched_off_where_the_penalty_looks_for_it():
    for rule in RULES.values():
        before, seen = vars(rule.owner)[rule.name], []
        with rule.watched(lambda seen=seen: seen.append(1)):
            assert vars(rule.owner)[rule.name] not in (before, rule.off)
        with rule.switched_off():
            assert vars(rule.owner)[rule.name] is rule.off
        assert vars(rule.owner)[rule.name] is before


def network(seed, loss, without):
    whole = {"right": 1, "shown_right": 1, "held_out_loss": loss}
    parts = {name: {**whole, "right": 0, "held_out_loss": each} for name, each in without.items()}
    return {"task": "t", "seed": seed, "rules": ["a", "b"], "with": whole, "without": parts}


def test_where_a_rule_never_acted_the_network_without_it_is_the_same():
    rows = [network(20_000, 0.5, {"a": 0.75}), network(20_001, 0.5, {}), network(10, 0.5, {})]
    *_, line = rules_table(Record({}, rows)).splitlines()
    assert line == "| `a` | t | fresh | 1 of 2 | -1 | +0 | +0.12 ± 0.1 |"
