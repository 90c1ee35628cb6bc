"""What channels of convolutions read, see and matter for: a network made by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from partwise.explain import ProgramWriter, subject_of
from partwise.explain.claims import IgnoresClaim
from partwise.explain.evidence import tables
from partwise.explain.evidence.pictures import map_profiles
from partwise.explain.maps import PICTURE, map_layers, receptive_fields
from partwise.explain.verification import verify_claims
from partwise.graph import unit_map
from partwise.tasks import task_from_arrays

SHAPE = (2, 4, 4)
LABELS = np.r_[np.repeat([0, 1], 16), [0, 1], [0, 1], [0, 1], [0, 0, 1, 1]]
"""Pixels, maps of the picture, channels of two convolutions, outputs."""


def spots_network():
    """Channel k of conv1 doubles map k, and of conv2 adds it up over 3x3; each has two outputs."""
    layers = nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()
    model = nn.Sequential(nn.Unflatten(1, SHAPE), *layers, nn.Flatten(), nn.Linear(32, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for k in range(2):
            model[1].weight[k, k] = 2
            model[3].weight[k, k] = 1
            model[6].weight[2 * k + 1, 16 * k : 16 * k + 16] = 1
            model[6].bias[2 * k] = 9
    return model


def spots_task():
    """Each map may have a bright pixel, in the third row and second column; two questions."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (900, 2))
    x = np.zeros((900, *SHAPE))
    x[:, :, 2, 1] = y * (1 + 0.1 * rng.random((900, 2)))
    names = [f"spot {k} pixel {r},{c}" for k in "ab" for r in range(4) for c in range(4)]
    heads = ["a is lit", "b is lit"]
    return task_from_arrays("spots", x.reshape(900, -1), y, heads=heads, inputs=names)


@pytest.fixture(scope="module")
def subject():
    return subject_of(spots_network(), LABELS, spots_task(), samples=150)


@pytest.fixture(scope="module")
def maps(subject):
    return map_profiles(subject, 0)


def test_channels_have_names(subject):
    assert [layer.name for layer in subject.map_layers] == [PICTURE, "conv1", "conv2"]
    assert subject.unit_names[37] == "channel 1 of conv2"


def test_layers_with_names_of_their_own_keep_them():
    model = nn.Sequential()
    model.add_module("maps", nn.Unflatten(1, SHAPE))
    model.add_module("edges", nn.Conv2d(2, 3, 3))
    model.add_module("flat", nn.Flatten())
    model.add_module("out", nn.Linear(12, 2))
    units = unit_map(model, torch.zeros(2, 32))
    assert [layer.name for layer in map_layers(model, units)] == [PICTURE, "edges"]


def test_networks_without_convolutions_have_no_maps():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert map_layers(model, unit_map(model)) == []


def test_a_channel_is_known_by_what_it_reads_sees_and_matters_for(maps):
    assert [each.name for each in maps] == ["channel 0 of conv1", "channel 0 of conv2"]
    last = maps[1]
    assert [(s.name, s.share) for s in last.reads] == [("channel 0 of conv1", 1.0)]
    assert [(s.name, s.share) for s in last.sees] == [("channel 0 of the picture", 1.0)]
    assert last.effects[0].added > 0.5
    assert last.effects[1].added == pytest.approx(0)


def test_patches_are_what_the_channel_sees_where_it_is_most_active(subject, maps):
    first, last = maps
    rows = subject.batch("train").x.reshape(-1, *SHAPE)
    brightest = rows[:, 0, 2, 1].sort(descending=True).values
    for rank, patch in enumerate(first.patches):
        assert (patch.row, patch.column) == (2, 1)
        assert patch.pixels[0][0][0] == pytest.approx(float(brightest[rank]), abs=1e-3)
        assert patch.activity == pytest.approx(2 * float(brightest[rank]))
    corner = last.patches[0]  # the first of nine equal places sees rows 0 to 2, columns 0 to 1
    assert (corner.row, corner.column, np.shape(corner.pixels)) == (0, 0, (1, 3, 2))


def test_fields_grow_with_kernels_and_pooling():
    layers = nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1)
    model = nn.Sequential(nn.Unflatten(1, (1, 12, 8)), *layers, nn.Flatten(), nn.Linear(24, 2))
    x = torch.randn(1, 96)
    units = unit_map(model, x.expand(2, -1))
    fields = receptive_fields(model, units, x)
    rows, columns = fields[1]
    assert rows[3].nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert columns[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert fields[0][0].sum(1).tolist() == [2] + [3] * 10 + [2]


def test_the_writer_says_what_channels_see_and_claims_that_the_rest_does_not_matter(
    subject, monkeypatch
):
    monkeypatch.setattr(tables, "fit_program", lambda *_: None)
    evidence = tables.table_module(subject, 0)
    assert list(evidence.units) == ["input", "the picture", "conv1", "conv2", "6"]
    assert evidence.foreign.inputs == tuple(range(16, 32))
    said = ProgramWriter().write(evidence)
    assert said.sentence == (
        "Reads 16 of 32 inputs ('spot a pixel'), sees channel 0 of the picture (100%), and answers "
        "'a is lit'."
    )
    assert "Channel 0 of conv2 sees channel 0 of the picture (100%)" in said.paragraph
    claims = [claim for claim in said.claims if isinstance(claim, IgnoresClaim)]
    assert [(claim.inputs, claim.head) for claim in claims] == [(evidence.foreign.inputs, 0)]
    verdicts = verify_claims(subject, [(evidence, claim) for claim in claims])
    assert [verdict.outcome for verdict in verdicts] == ["supported"]


def test_a_module_that_needs_what_it_should_not_see_does_not_claim_to_be_blind(monkeypatch):
    monkeypatch.setattr(tables, "fit_program", lambda *_: None)
    model = spots_network()
    with torch.no_grad():
        model[3].weight[0, 1] = -1  # the channel of a listens to b
    listening = subject_of(model, LABELS, spots_task(), samples=150)
    said = ProgramWriter().write(tables.table_module(listening, 0))
    assert not any(isinstance(claim, IgnoresClaim) for claim in said.claims)
