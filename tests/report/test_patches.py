"""Patches of channels on the page."""

from dataclasses import replace

import numpy as np
from made import evidence, explained, least

from partwise.explain.values import HeadEffect, MapProfile, Patch, Share
from partwise.report.cards import cards_of
from partwise.report.html import render_report
from partwise.report.patches import map_rows, padded, side_by_side

HOSTILE = "<script>alert(1)</script>"


def profile(layer="conv1", **changes):
    """A channel that sees one map, with a whole patch and one cut off at the top."""
    values = {
        "unit": 5,
        "name": f"channel 0 of {layer}",
        "layer": layer,
        "reads": (Share(name="channel 0 of the picture", share=1.0),),
        "sees": (Share(name="channel 0 of the picture", share=1.0),),
        "shown": ("channel 0 of the picture",),
        "patches": (
            Patch(row=2, column=1, activity=3.5, pixels=(((0.0, 1.0), (1.0, 0.5)),)),
            Patch(row=0, column=1, activity=3.0, pixels=(((0.25, 0.75),),)),
        ),
        "effects": (HeadEffect(head=0, name="first", loss_before=0.1, loss_after=0.35),),
    }
    return MapProfile(**(values | changes))


def rows_of(*maps):
    return map_rows(evidence().model_copy(update={"maps": maps}))


def test_channels_stand_layer_by_layer_with_what_they_see():
    rows = rows_of(profile(), profile("conv2"))
    assert [(row.layer, row.field, len(row.maps)) for row in rows] == [
        ("conv1", "2x2", 1),
        ("conv2", "2x2", 1),
    ]
    view = rows[0].maps[0]
    assert (view.sees, view.reads) == ("channel 0 of the picture (100%)", "")
    assert view.harm == "+0.25 nats on ‘first’"
    assert [(p.width, p.height) for p in view.patches] == [(2, 2), (2, 2)]
    assert "row 2, column 1" in view.patches[0].alt


def test_evidence_without_channels_shows_none():
    assert rows_of() == ()


def test_what_lies_beyond_the_edge_is_clear():
    pixels, patch = np.ones((1, 1, 2)), profile().patches[1]
    found = padded(pixels, patch, (2, 2))
    assert np.isnan(found[0, 0]).all()
    assert (found[0, 1] == 1).all()


def test_two_maps_stand_side_by_side():
    assert side_by_side(np.ones((2, 3, 4))).shape == (3, 9)


def test_three_maps_are_colours_in_one_picture():
    red = Patch(row=0, column=0, activity=1.0, pixels=(((1.0,),), ((0.0,),), ((0.0,),)))
    view = rows_of(profile(patches=(red,)))[0].maps[0]
    assert (view.patches[0].width, view.patches[0].height) == (1, 1)


def test_channels_are_on_the_page_and_escaped():
    shown = explained()
    seen = shown.evidence.model_copy(update={"maps": (profile(name=HOSTILE),)})
    page = render_report(replace(least(), explained=[shown.model_copy(update={"evidence": seen})]))
    assert "What its channels see" in page
    assert HOSTILE not in page
    assert page.count('class="patches"') == 1


def test_cards_of_interfaces_show_no_channels():
    assert cards_of([explained((0, 1))], "interface")[0].maps == ()
