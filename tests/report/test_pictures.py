"""The pictures' geometry, on numbers small enough to check by hand."""

import base64
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from made import LABELS, full, hierarchy, history, least, tree, verdicts, weights

from partwise.cuttree import CutTree
from partwise.graph import UnitGraph
from partwise.modules import Hierarchy, Significance
from partwise.report import WeightPicture
from partwise.report.claims import claim_rows
from partwise.report.curves import curve_panels, nice_ticks
from partwise.report.dendrogram import dendrogram, nest_of
from partwise.report.headline import headline, interface_frac
from partwise.report.matrices import MOST_CELLS, matrix_figures
from partwise.report.module_map import module_map
from partwise.report.page import page_of
from partwise.report.palette import MODULE_COLOURS, NEGATIVE, POSITIVE, colour_class
from partwise.report.png import png_uri, signed_picture


def pixels(uri):
    """(h, w, 4) of a PNG data URI with filter type 0."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    width, height = struct.unpack(">II", content[16:24])
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    rows = zlib.decompress(content[start + 4 : start + 4 + length])
    return np.frombuffer(rows, np.uint8).reshape(height, -1)[:, 1:].reshape(height, width, 4)


def test_a_png_holds_the_pixels_it_was_given():
    rgba = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert (pixels(png_uri(rgba)) == rgba).all()


def test_signs_have_two_hues_and_zero_is_clear():
    picture = pixels(signed_picture(np.array([[1.0, -1.0, 0.0]])))
    assert tuple(picture[0, 0, :3]) == POSITIVE
    assert tuple(picture[0, 1, :3]) == NEGATIVE
    assert picture[0, :, 3].tolist() == [255, 255, 0]


def test_sorting_gathers_each_module_in_one_block():
    matrix = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    picture = WeightPicture("w", matrix, np.array([0, 1]), np.array([0, 1, 0]))
    (figure,) = matrix_figures([picture])
    assert [run.module for run in figure.before.columns] == [0, 1, 0]
    assert [(c.module, c.length / r.length) for c, r in figure.after.blocks] == [(0, 2), (1, 1)]
    assert figure.inside == 1.0
    assert (pixels(figure.after.uri)[..., 3] > 0).tolist() == [[1, 1, 0], [0, 0, 1]]


def test_the_share_inside_modules_is_that_of_absolute_weight():
    (figure,) = matrix_figures([weights()])
    assert figure.inside == pytest.approx(10 / 10.5)  # 4 + 3 + 2 + 1 of 10.5


def test_large_matrices_are_pooled_and_keep_their_largest_weight():
    matrix = np.zeros((2, 3 * MOST_CELLS))
    matrix[1, 700] = -5.0
    labels = np.zeros(3 * MOST_CELLS, np.int64)
    (figure,) = matrix_figures([WeightPicture("w", matrix, labels[:2], labels)])
    small = pixels(figure.before.uri)
    assert small.shape[:2] == (2, MOST_CELLS)
    assert np.argwhere(small[..., 3] > 0).tolist() == [[1, 700 // 3]]


def test_single_linkage_joins_strong_cuts_first():
    nest = nest_of(tree(), LABELS)
    assert nest.cut.tolist() == [4.0, 3.5, 2.0, 1.0, 0.5]
    assert nest.module.tolist()[6:] == [0, 0, 1, 1, -1]  # 0-4, +1, 2-5, +3, all
    assert nest.size.tolist()[6:] == [2, 3, 2, 3, 6]


def test_leaves_of_a_module_stand_together():
    picture = dendrogram(full())
    assert [run.module for run in picture.runs] == [0, 1]
    assert picture.folded == 0
    assert [module for module, _ in picture.branches] == [0, 1]


def test_a_large_tree_is_folded_up_into_wedges():
    n = 1000
    labels = (np.arange(n) >= n // 2).astype(np.int64)
    value = np.r_[np.inf, np.linspace(2, 1, n - 1)]
    value[n // 2] = 0.1
    chain = CutTree(np.arange(n) - 1, value, np.arange(n))
    big = UnitGraph.from_edges(n, np.arange(n - 1), np.arange(1, n), value[1:])
    nest = Hierarchy(labels, labels, (), chain, 1.0, 0.5)
    picture = dendrogram(replace(least(), graph=big, hierarchy=nest), most_leaves=40)
    assert picture.folded >= 2
    assert [run.module for run in picture.runs] == [0, 1]


def test_a_tree_without_capacity_is_drawn():
    empty = CutTree(np.array([-1, 0]), np.array([np.inf, 0.0]), np.array([0, 1]))
    nest = Hierarchy(np.zeros(2, np.int64), np.zeros(2, np.int64), (), empty, 1.0, 0.0)
    bare = UnitGraph.from_edges(2, [0], [1], [0.0])
    page = page_of(replace(least(), graph=bare, hierarchy=nest))
    assert page.tree is not None
    assert page.map.links == ()


def test_one_unit_has_no_tree_to_show():
    alone = CutTree(np.array([-1]), np.array([np.inf]), np.array([0]))
    nest = Hierarchy(np.zeros(1, np.int64), np.zeros(1, np.int64), (), alone, 1.0, 0.0)
    page = page_of(replace(least(), graph=UnitGraph.from_edges(1, [], [], []), hierarchy=nest))
    assert [key for key, _ in page.sections] == ["summary", "map", "method"]


def test_areas_on_the_map_are_volumes_and_links_are_shares():
    seen = module_map(full())
    a, b = seen.places
    # degrees: module 0 has 2 * 7 + 0.5, module 1 has 2 * 3 + 0.5, of 2 * 10.5
    assert (a.volume, b.volume) == (pytest.approx(14.5 / 21), pytest.approx(6.5 / 21))
    assert (a.radius / b.radius) ** 2 == pytest.approx(14.5 / 6.5, rel=1e-3)
    (link,) = seen.links
    assert link.share == pytest.approx(0.5 / 10.5)
    assert interface_frac(full()) == pytest.approx(0.5 / 10.5)


def test_labels_on_the_map_do_not_cover_each_other():
    labels = np.arange(12)
    sources, targets = np.triu_indices(12, 1)
    dense = UnitGraph.from_edges(12, sources, targets, np.ones(len(sources)))
    chain = CutTree(np.arange(12) - 1, np.r_[np.inf, np.full(11, 11.0)], np.arange(12))
    nest = Hierarchy(labels, labels, (), chain, 1.0, 0.0)
    seen = module_map(replace(least(), graph=dense, hierarchy=nest))
    spots = [link.label for link in seen.links if link.label]
    assert len(seen.links) == 66
    for i, (x, y) in enumerate(spots):
        assert all(abs(x - u) >= 37.8 or abs(y - v) >= 14.8 for u, v in spots[:i])


def test_a_claim_shows_its_bound_side_effect_and_samples():
    supported, refuted, undecided = claim_rows(verdicts())
    assert (supported.glyph, refuted.glyph, undecided.glyph) == ("✓", "✗", "?")
    assert supported.condition == "≥\u00a00.500 nats"
    assert supported.measured == "1.200 nats [1.100, 1.300]"
    assert refuted.measured == "40% of samples [30%, 50%]"
    assert undecided.chance == "0.300"
    assert "some 4,000 rows would decide it" in undecided.note
    assert undecided.condition == "≤\u00a00.050 nats"
    assert supported.picture.low >= supported.picture.good_from
    assert refuted.picture.high <= refuted.picture.good_from
    assert undecided.picture.low < undecided.picture.good_to < undecided.picture.high


def test_a_claim_that_could_not_be_tested_says_so():
    (row,) = claim_rows([verdicts()[0].model_copy(update={"samples": 0})])
    assert row.picture is None
    assert "could not be tested" in row.measured


def test_curves_end_where_their_labels_are_and_labels_keep_apart():
    loss, interface, modules = curve_panels({"plain": history(2.0), "modular": history(1.9)})
    assert [curve.style for curve in loss.curves] == ["plain", "line0"]
    assert abs(loss.curves[0].label_y - loss.curves[1].label_y) >= 12.9
    assert [tick.text for tick in modules.y_ticks] == ["0", "1", "2"]
    assert interface.y_ticks[-1].text == "30%"


def test_rows_that_lack_a_quantity_leave_its_panel_out():
    rows = [{"step": 1, "claims_ce": 1.0}, {"step": 2, "claims_ce": float("nan")}]
    assert [panel.title for panel in curve_panels({"run": rows})] == ["Loss on the claims split"]


@pytest.mark.parametrize("top", [1e-7, 0.03, 0.999, 1.0, 7.3, 12345.0])
def test_ticks_reach_the_top_in_few_steps(top):
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-9)
    assert 2 <= len(ticks) <= 7


def test_the_headline_tells_what_came_of_it():
    head = headline(full())
    assert head.sentences[0] == (
        "A network of 6 units came apart into 2 modules that share 4.8% of its capacity."
    )
    assert head.sentences[-1] == (
        "The audit passes “modular” and flags “sabotaged”, naming module 1."
    )
    assert "Of 9 claims made about its parts, 3 held on fresh data" in head.sentences[2]
    assert (head.twins[0].plain, head.twins[0].modular) == ("0.389", "0.357")


def test_modules_that_chance_explains_are_said_not_to_be_significant():
    chance = Significance(0.2, 0.2, 0.1, 0.0, 0.45, 19)
    given = replace(least(), hierarchy=replace(hierarchy(), significance=chance))
    assert "not significant (p = 0.450)" in headline(given).sentences[1]
    known = replace(chance, p_value=0.05)
    given = replace(given, hierarchy=replace(hierarchy(), significance=known))
    assert not any("significant" in sentence for sentence in headline(given).sentences)


def test_a_network_that_did_not_come_apart_is_said_to_be_one():
    whole = replace(hierarchy(), labels=np.zeros(6, np.int64))
    assert headline(replace(least(), hierarchy=whole)).sentences == (
        "The network did not come apart: its 6 units form one module.",
    )


def test_colours_are_per_module_and_repeat_after_the_last():
    k = len(MODULE_COLOURS)
    assert len({colour_class(module) for module in range(k)}) == k
    assert colour_class(k) == colour_class(0)
