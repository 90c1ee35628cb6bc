import pytest

from partwise.errors import RecipeError
from partwise.train.old_recipes import RETIRED
from partwise.train.recipe import schedule_fields
from partwise.train.recipe_files import recipe_fields, recipe_from

PENALTIES = {
    "cut_tree": {"task": "digits-pair", "own": {"strength": 1.0}},
    "budget": {"task": "digits-pair", "own": {"budget": 0.05}},
    "share": {"texts": ["any"], "own": {}},
}


@pytest.mark.parametrize("kind", PENALTIES)
def test_runs_that_spelled_out_what_cannot_be_set_any_more_are_read(kind):
    source = dict(PENALTIES[kind])
    penalty = {"kind": kind, **source.pop("own")}
    assert not RETIRED[kind].keys() & schedule_fields(kind)
    fields = recipe_fields(recipe_from({"data": source, "penalty": penalty}))
    old = {**fields, "penalty": {**fields["penalty"], **RETIRED[kind]}}
    assert recipe_fields(recipe_from(old)) == fields
    name, value = next(reversed(RETIRED[kind].items()))
    with pytest.raises(RecipeError, match="unknown key 'penalty"):
        recipe_from({**fields, "penalty": {**fields["penalty"], name: 2 * value}})
