from math import comb

import numpy as np
import pytest

from partwise.errors import GraphError
from partwise.graph import UnitGraph
from partwise.modules import find_modules, given_modules, significance
from partwise.modules.null import shuffled_graph
from partwise.modules.sequential import (
    LEAST_DRAWS,
    _limit_error,
    distance,
    is_beyond,
    least_distance,
    most_draws,
    side_of_distance,
    side_of_level,
)
from partwise.modules.significance import (
    Plan,
    Significance,
    _look_at_likelihood,
    _look_at_q,
    _tested,
)
from partwise.tasks import planted_blocks


def blocks(cross=0.2, modules=2, sparse=False):
    return planted_blocks([24, 24, 12], modules, cross, sparse=sparse)[0]


def halves_of_layers(graph):
    """Four layers joined by equal capacities: any shuffle is the network itself."""
    return graph.with_capacities(np.ones(graph.m))


def test_a_level_is_left_by_the_hand_computed_bound():
    # (n + 1) b(0; n, 0.05) = (n + 1) 0.95^n falls to 0.01 at n = 194
    first = next(n for n in range(1, 500) if (n + 1) * 0.95**n <= 0.01)
    assert side_of_level(0, first - 1, 0.05) == 0
    assert side_of_level(0, first, 0.05) == 1
    assert side_of_level(1, 1, 0.05) == 0  # 2 * 0.05 = 0.1
    assert side_of_level(2, 2, 0.05) == -1  # 3 * 0.0025 = 0.0075
    for reached, drawn in ((3, 20), (8, 40), (5, 300), (1, 170)):
        bound = (drawn + 1) * comb(drawn, reached) * 0.05**reached * 0.95 ** (drawn - reached)
        assert (side_of_level(reached, drawn, 0.05) == 0) == (bound > 0.01)


@pytest.mark.parametrize(("p", "wrong"), [(0.02, -1), (0.05, 1), (0.05, -1), (0.1, 1)])
def test_a_p_value_seldom_lands_on_the_wrong_side_at_any_time(p, wrong):
    rng, mistakes = np.random.default_rng(0), 0
    for _ in range(400):
        reached = np.cumsum(rng.random(400) < p)
        sides = [side_of_level(int(k), n, 0.05) for n, k in enumerate(reached, 1)]
        mistakes += next((side for side in sides if side), 0) == wrong
    assert mistakes <= 10  # 4 at most are expected; more than 10 have probability 0.003


def test_distances_by_hand():
    draws = np.r_[np.zeros(10), np.full(10, 2.0)]  # mean 1, variance 20 / 19
    assert distance(3.0, draws) == pytest.approx(2 / np.sqrt(20 / 19))
    assert distance(3.0, draws[:5]) is None
    assert distance(3.0, np.full(20, 1.0)) is None
    assert distance(3.0, np.full(20, 1.0) + 1e-7 * np.arange(20)) is None
    assert least_distance(0.1) == pytest.approx(3)  # 1 / (1 + 3^2) = 0.1


def test_the_jackknife_is_what_leaving_out_each_draw_gives():
    draws = np.random.default_rng(0).gumbel(size=25)
    rest = [np.delete(draws, i) for i in range(25)]
    each = np.array([r.mean() + 4.0 * r.std(ddof=1) for r in rest])
    expected = np.sqrt(24 / 25 * ((each - each.mean()) ** 2).sum())
    assert _limit_error(draws, 4.0) == pytest.approx(expected)


def test_a_distance_is_clear_only_where_its_error_is_small():
    draws = np.random.default_rng(1).standard_normal(400)
    far = least_distance(0.05)
    assert side_of_distance(30.0, draws[:LEAST_DRAWS], far) == 1
    assert side_of_distance(0.0, draws[:LEAST_DRAWS], far) == -1
    assert side_of_distance(30.0, draws[: LEAST_DRAWS - 1], far) == 0
    assert side_of_distance(far + 1, 1.5 * draws[:LEAST_DRAWS], far) == 0
    assert side_of_distance(6.0, draws, far) == 1
    assert side_of_distance(far, draws, far) == 0


def test_where_shuffles_are_alike_only_what_differs_is_beyond_them():
    alike = np.full(20, 0.25)
    assert side_of_distance(0.25, alike, 4.0) == -1
    assert side_of_distance(0.5, alike, 4.0) == 1
    assert is_beyond(0.5, alike, 4.0)
    assert not is_beyond(0.25 + 1e-5, alike, 4.0)


def test_q_must_be_a_hundredth_beyond_shuffles_that_are_alike():
    alike = np.full((200, 1), 0.25)
    assert not _look_at_q(np.array([0.2501]), alike, 0.05).holds
    look = _look_at_q(np.array([0.35]), alike[:LEAST_DRAWS], 0.05)
    assert (look.holds, look.side) == (True, 1)
    assert look.figures.z is None
    assert look.figures.beyond is None


def test_q_equal_but_for_rounding_is_reached_by_two_draws():
    # an untrained 784-1000-1000-10: Q = 1/6 here and in every shuffle, and z was -112171843
    null = 1 / 6 - np.array([[3e-8], [6e-8]])
    look = _look_at_q(np.array([1 / 6]), null, 0.05)
    assert (look.holds, look.side) == (False, -1)
    assert look.figures.p_value == 1
    assert look.figures.z is None


def test_likely_modules_must_be_far_whatever_the_p_value():
    scores = np.random.default_rng(0).standard_normal(400)
    null = np.c_[np.zeros(400), scores]
    near = scores.mean() + 3.6 * scores.std(ddof=1)
    assert not _look_at_likelihood(0.3, near, 4, null, 0.05).holds
    assert _look_at_likelihood(0.3, near + 2, 4, null, 0.05).holds


def drawn(score, look_limit, plan, seeds=range(40)):
    """Draws and answers of tests whose shuffles score as `score` draws them."""
    graph, found = blocks(), []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        own = np.array([look_limit])
        found.append(_tested(
            graph,
            lambda shuffled, rng=rng: np.array([score(rng)]),
            lambda null, own=own: _look_at_q(own, null, 0.05),
            plan,
        ))  # fmt: skip
    return found


def test_more_is_drawn_near_the_limit_and_no_more_than_planned(monkeypatch):
    monkeypatch.setattr(significance, "shuffled_graph", lambda graph, rng: graph)
    plan = Plan(most=120)
    draws = {
        own: np.mean([t.figures.samples for t in drawn(lambda r: r.normal(), own, plan)])
        for own in (0.0, 1.645, 12.0)
    }
    assert draws[0.0] < LEAST_DRAWS
    assert draws[12.0] < 1.5 * LEAST_DRAWS
    assert draws[1.645] > 60
    assert max(t.figures.samples for t in drawn(lambda r: r.normal(), 1.645, plan)) == 120


def test_answers_agree_over_seeds_where_nineteen_draws_do_not(monkeypatch):
    monkeypatch.setattr(significance, "shuffled_graph", lambda graph, rng: graph)
    for own, answer in ((1.3, False), (2.1, True)):  # p = 0.097 and 0.018
        fixed = drawn(lambda r: r.normal(), own, Plan(most=LEAST_DRAWS))
        more = drawn(lambda r: r.normal(), own, Plan(most=499))
        assert np.mean([t.believed == answer for t in fixed]) < 0.95
        assert np.mean([t.believed == answer for t in more]) >= 0.95


def heavy(seed):
    """Three fully joined layers with lognormal capacities and no structure."""
    graph, _ = planted_blocks([20, 20, 20], 1, 1.0)
    return graph.with_capacities(np.random.default_rng(seed).lognormal(size=graph.m))


def test_shuffles_keep_heavy_tails():
    graph = heavy(0)
    shuffled = shuffled_graph(graph, np.random.default_rng(0))
    np.testing.assert_allclose(shuffled.degrees(), graph.degrees(), rtol=0.02)
    ours, theirs = np.sort(graph.capacities), np.sort(shuffled.capacities)
    np.testing.assert_allclose(theirs[-10:], ours[-10:], rtol=0.1)
    np.testing.assert_allclose(theirs[600:], ours[600:], rtol=0.1)


def test_heavy_tails_alone_are_no_modules():
    for method in ("likelihood", "newman_q"):
        assert [find_modules(heavy(s), method=method).modules for s in range(8)] == [1] * 8


def test_large_networks_get_fewer_draws():
    assert most_draws(1) == most_draws(200) == 499
    assert most_draws(512) == 128
    assert most_draws(10_000) == 99


@pytest.mark.parametrize("method", ["likelihood", "newman_q"])
def test_shuffles_that_are_the_network_tell_no_spread(method):
    graph = halves_of_layers(planted_blocks([20, 20, 20, 20], 1, 1.0)[0])
    found = find_modules(graph, method=method)
    assert found.modules == 1
    if found.significance is not None:
        assert found.significance.z is None
        assert found.significance.beyond is None


def test_a_false_z_of_an_old_file_is_dropped():
    old = Significance(1 / 6, 1 / 6, 1e-12, -112171843.2, 1.0, 19)
    assert old.without_false_z().z is None
    honest = Significance(0.4, 0.1, 0.02, 15.0, 0.05, 19)
    assert honest.without_false_z() is honest


def test_a_stricter_level_draws_enough_to_reach_it():
    found = find_modules(blocks(), significance=0.01)
    assert found.modules == 2
    assert found.significance.samples >= 99
    assert found.significance.p_value <= 0.01


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(GraphError, match="between 0 and 1"):
        find_modules(blocks(), significance=level)


def test_a_method_that_is_none_is_refused():
    with pytest.raises(GraphError, match="likelihood"):
        find_modules(blocks(), method="leiden")


def test_the_default_finds_weak_modules_and_newman_q_the_strong():
    weak, truth = planted_blocks([64, 64, 64, 20], 4, 0.5, sparse=True)
    assert find_modules(weak, null_samples=0).modules == 4
    assert find_modules(weak, method="newman_q", null_samples=0).saved is None
    assert find_modules(blocks(), method="newman_q").modules == 2
    assert len(truth) == weak.n


def test_graphs_too_large_for_likelihood_are_tested_by_q(monkeypatch):
    from partwise.modules import hierarchy

    monkeypatch.setattr(hierarchy, "MAX_UNITS", 59)
    found = find_modules(blocks())
    assert (found.modules, found.saved, found.significance.by) == (2, None, "newman_q")


@pytest.mark.parametrize("graph", [
    blocks(),
    planted_blocks([24, 24, 12], 1, 1.0)[0],
    UnitGraph.from_edges(3, [0], [1], [1.0]),
])  # fmt: skip
def test_progress_rises_to_its_end(graph):
    steps = []
    find_modules(graph, on_step=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert all(0 < done <= total for done, total in steps)
    assert steps[-1][0] == steps[-1][1]


def test_a_given_partition_tells_its_draws():
    graph, truth = planted_blocks([24, 24, 12], 2, 0.2)
    steps = []
    given = given_modules(graph, truth, on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, 19) for i in range(given.significance.samples)]
