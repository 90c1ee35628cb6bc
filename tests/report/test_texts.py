"""The report of a language model: tokens and texts instead of pixels."""

import re
import unicodedata
from dataclasses import replace

import made_text
import numpy as np
import pytest
import torch
from made_text import HOSTILE, context, direction, effect, empty, explained, full, full_text
from test_html import Elements

from partwise.audit import AuditReport, ModuleSuspicion
from partwise.explain import subject_of
from partwise.explain.values import AttentionProfile
from partwise.graph.transformer import transformer_map
from partwise.modules import Hierarchy
from partwise.report import report_content
from partwise.report.curves import curve_panels
from partwise.report.headline import headline, interface_frac
from partwise.report.html import render_report
from partwise.report.matrices import matrix_layers
from partwise.report.module_map import layer_bars, module_map, tokens_by_module
from partwise.report.texts import BAR, BAR_PAD, head_panel, slice_table, text_view
from partwise.report.tokens import Scale, marked, nats, slice_phrase, wire_of
from partwise.tasks import Text
from partwise.tasks.streams import character_corpus
from partwise.train.gpt import GPT, GPTConfig

CARD_PARTS = (
    "Its tokens, the strongest first",
    "Loss in nats per token with and without module 0",
    "The same text without module 0",
    "Suffers most",
    "Suffers least",
    "Raised most",
    "Lowered most",
    "What the network predicts because of it",
    "Where its heads look",
    "Its strongest neurons",
)


def words_of(content):
    text = " ".join(" ".join(Elements(render_report(content)).text).split())
    return text.partition("Skip to the report")[2]  # what stands before is style


def test_a_language_models_report_has_every_part():
    text = words_of(full())
    for part in CARD_PARTS:
        assert part in text
    for part in ("Who holds what", "block 0 neurons", "outside of blocks", "Strongest wires"):
        assert part in text
    assert "module 0 reads of module 1: 2% of capacity" in text
    assert "module 1 reads of module 0: 2% of capacity" in text
    assert "after h comes e : 69% of tokens, 16% without the module" in text
    assert "in stream letters comes what came after it last time: 80% of tokens" in text


def test_nothing_is_shown_of_what_nobody_knows():
    bare = [explained(made_text.module_evidence(0, empty()))]
    text = words_of(replace(full(), explained=bare, weights=[], histories={}))
    for part in (*CARD_PARTS, "Strongest wires", "outside of blocks", "Held-out loss"):
        assert part not in text
    ids = Elements(render_report(replace(full(), explained=[], weights=()))).section_ids()
    assert not {"modules", "interfaces", "weights"} & set(ids)


def test_hostile_tokens_are_text_and_nothing_else():
    calm = Elements(render_report(full()))
    content = replace(full(full_text(HOSTILE)), vocabulary=HOSTILE)
    html = render_report(content)
    page = Elements(html)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in calm.tags}
    assert not [a for _, a in page.tags if any(n.startswith("on") or n == "style" for n in a)]
    assert "<script" not in html
    assert "<script>alert(1)</script>" in page.text  # shown, as text
    assert "⟨U+202E⟩gnp.exe" in page.text
    assert "⟨U+0000⟩⟨U+001B⟩" in page.text
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn"}
    assert not [c for c in html if unicodedata.category(c) in hidden and c != "\n"]


def test_blanks_and_newlines_are_seen_as_signs():
    html = render_report(full())
    assert '<span class="chip">␣</span>' in html
    assert '<span class="chip">⏎</span>' in html
    assert '<span class="a6" title="⏎ loses' not in html  # it gains: its mark is below 0
    assert 'title="⏎ gains 1.00 nats">⏎</span>' in html


def test_no_words_of_pixels_and_the_right_words_of_text():
    text = words_of(full())
    assert not re.search(r"pixel|picture that|samples that took|digit'", text)
    assert "A language model of 14 units came apart into 2 modules" in text
    assert "the loss on tokens in stream letters rises by 1.66 nats per token" in text
    assert "0.042 nats per token on tokens that are “q”" in text
    assert "128 independent documents" in text
    assert "Text is split three ways" in text


def test_the_held_out_loss_stands_alone():
    (figure,) = (f for f in headline(full()).figures if "nats" in f.name)
    assert figure.value == "0.38"  # (2/4 + 1/4) / 2 = 0.375
    assert figure.beside == "letters 0.50 and digits 0.25"


def test_slices_are_sorted_by_effect_and_streams_always_seen():
    table = slice_table(full_text().slices)
    added = [row.effect.added for row in table.shown]
    assert added == sorted(added, reverse=True)
    assert table.shown[0].phrase.words == "in stream letters"
    assert table.shown[-1].phrase.words == "in stream digits"  # the smallest of all
    assert len(table.shown) + len(table.more) == len(full_text().slices)


def test_a_loss_bar_is_drawn_to_scale():
    rows = slice_table([effect("", 1.0, 1.0), effect("next in DIGITS", 1.0, -0.5, True)]).shown
    room = BAR - 2 * BAR_PAD  # the top is 1.0 + 1.1 = 2.1 nats
    first, second = rows[0].bar, rows[1].bar
    assert first.before == pytest.approx(BAR_PAD + room / 2.1, abs=0.06)
    assert first.high == BAR - BAR_PAD
    assert first.chance == pytest.approx(BAR_PAD + room * 1.3 / 2.1, abs=0.06)
    assert second.falls
    assert not first.falls
    assert [row.chance for row in rows] == ["≤\u00a00.30", "≥\u00a00.90"]


def test_shades_go_both_ways_and_stop_at_full_strength():
    scale = Scale(1.0)
    seen = marked(context(("a", "b", "c", "d")), scale, 10, nats)  # marks 2, 1, 0, -1
    assert [mark.shade for mark in seen.marks] == ["a8", "a8", "", "b8"]
    assert [mark.title for mark in seen.marks][-1] == "d gains 1.00 nats"
    assert (seen.most, seen.peak, seen.mean) == ("a", 2.0, 0.5)


def test_long_texts_are_cut_to_their_telling_part():
    long = context(tuple("x" * 100)).model_copy(
        update={"marks": tuple(np.r_[np.zeros(60), np.ones(10), np.zeros(30)].tolist())}
    )
    seen = marked(long, Scale(1.0), 10, nats, peak=True)
    assert [mark.shade for mark in seen.marks] == ["a8"] * 10
    assert seen.before
    assert seen.after
    assert [mark.is_peak for mark in seen.marks] == [True] + [False] * 9
    nothing = context(("a",)).model_copy(update={"tokens": (), "marks": ()})
    assert marked(nothing, Scale(1.0), 10, nats).marks == ()


def test_heads_have_places_and_classes_apart():
    (panel,) = map(head_panel, full_text().attention)
    assert [(row.name, row.is_best) for row in panel.places] == [
        ("previous", True),
        ("2 back", False),
    ]
    assert [row.name for row in panel.classes] == ["digits"]
    odd = AttentionProfile(
        unit=0, name="h", pattern="token == '<'", share=0.5, safe=0.4, even=0.1,
        shares={"token == '<'": (0.5, 0.1)},
    )  # fmt: skip
    assert head_panel(odd).words == "tokens where token == '<'"


def test_phrases_and_wires_survive_odd_tokens():
    assert slice_phrase('next == "it\'s"') == ("that are", "it's")
    assert slice_phrase("token == '\\u202e'") == ("after", "⟨U+202E⟩")
    assert slice_phrase("length(token) > 3").token is None
    wire = wire_of("' -> ' -> channel 5")
    assert (wire.sender.token, wire.receiver.words) == ("␣->␣", "channel 5")
    assert wire_of("broken").receiver.words == "broken"


def test_who_holds_what_adds_up():
    bars = {bar.name: bar for bar in layer_bars(full())}
    assert list(bars) == ["tokens", "residual channels", "block 0 heads", "block 0 neurons"]
    assert [(s.module, s.count, s.start) for s in bars["tokens"].segments] == [
        (0, 3, 0),
        (1, 3, 0.5),
    ]
    assert all(sum(s.count for s in bar.segments) == bar.count for bar in bars.values())
    held = module_map(full()).places[0].units
    assert held == ("3 tokens", "1 residual channel", "1 head", "2 neurons")


def test_tokens_are_listed_by_module_with_or_without_a_vocabulary():
    named = tokens_by_module(full())
    assert sorted(named[0].shown) == ["a", "b", "␣"]
    assert named[1].more == 0
    unnamed = tokens_by_module(replace(full(), vocabulary=()))
    assert unnamed[0].shown == ("a", "␣", "⏎")  # those of the evidence


def test_matrices_are_gathered_by_layer_with_their_shares():
    outside, block = matrix_layers(made_text.pictures())
    assert (outside.name, block.name) == ("outside of blocks", "block 0")
    assert block.figures[0].name == "up"
    assert block.inside == 0.875  # 0.5 + 0.375
    shares = block.figures[0].shares
    assert [(run.module, run.length) for run in shares] == [(0, 0.5), (1, 0.375), (-1, 0.125)]
    assert [run.start for run in shares] == [0, 0.5, 0.875]


def test_streams_become_curves():
    (loss, _, _) = curve_panels({"run": made_text.history()})
    assert [curve.run for curve in loss.curves] == ["letters", "digits"]
    both = curve_panels({"plain": made_text.history(), "run": made_text.history()})[0]
    assert [(c.run, c.style) for c in both.curves][:3] == [
        ("plain letters", "plain"),
        ("plain digits", "plain"),
        ("run letters", "line0"),
    ]


def test_a_report_of_eight_modules_stays_below_two_megabytes():
    long = tuple("the long text " * 80)  # 1120 tokens
    known = full_text().model_copy(
        update={"suffering": (context(long),) * 4, "spared": (context(long),) * 4}
    )
    wide = direction(0).model_copy(update={"suffering": (context(long),) * 4})
    subjects = [explained(made_text.module_evidence(m, known)) for m in range(8)]
    for a in range(8):
        for b in range(a):
            seen = made_text.interface_evidence((b, a))
            both = tuple(wide.model_copy(update={"reader": each}) for each in (b, a))
            text = seen.text.model_copy(update={"directions": both})
            subjects.append(explained(seen.model_copy(update={"text": text})))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 768)
    weights = [
        replace(made_text.pictures()[1], name=f"blocks.{k}.up.weight", masses=None,
                matrix=rng.normal(size=(768, 768)), row_modules=labels, column_modules=labels)
        for k in range(48)
    ]  # fmt: skip
    content = replace(full(), explained=subjects, weights=weights)
    assert len(render_report(content).encode()) < 2e6


def test_the_audit_of_a_language_model_speaks_of_tokens():
    calm = ModuleSuspicion.silent(0, "passed")
    guilty = ModuleSuspicion(
        module=1, outcome="flagged", score=0.9, baseline=0.02, siblings=None, p_value=0.001,
        trigger_inputs=("<b>", "\n"), forced_answer="the token 'x'", evidence=("It takes over.",),
        effect="answer", interval=(0.8, 0.95),
    )  # fmt: skip
    found = AuditReport(
        outcome="flagged", reasons=(), guilty_module=1, modules=(guilty, calm), repair=None,
        searched=("2 tokens: 100",),
    )  # fmt: skip
    clean = found.model_copy(
        update={"outcome": "passed", "guilty_module": None, "modules": (calm,)}
    )
    html = render_report(replace(full(), audits={"a": found, "b": clean}))
    text = " ".join(" ".join(Elements(html).text).split())
    assert "2 tokens can force the token 'x', with a score of 90% on held-out text" in text
    assert "no sequence of tokens was found that does more than random ones" in text
    assert '<span class="chip">&lt;b&gt;</span>' in html
    assert "siblings resist" not in text


def test_every_picture_of_text_has_words_and_every_table_a_caption():
    html = render_report(full())
    for tag, attrs in Elements(html).tags:
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    assert html.count("<table") == html.count("<caption>")
    ids = [attrs["id"] for _, attrs in Elements(html).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_other_networks_have_no_text_to_show():
    seen = made_text.module_evidence(0, empty()).model_copy(update={"text": None})
    assert text_view(seen) is None


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    text = Text(character_corpus({"one": "abcab" * 400, "two": "1212=" * 400}), 8)
    model = GPT(GPTConfig(len(text.vocabulary), context=8, width=8, heads=2, layers=1)).eval()
    units = transformer_map(model)
    labels = np.arange(units.n) % 2
    return model, units, labels, text


def found(graph, labels):
    return replace(made_text.hierarchy(), labels=labels, pieces=labels, tree=_path(graph.n))


def _path(n):
    return replace(
        made_text.hierarchy().tree,
        parent=np.arange(-1, n - 1),
        value=np.r_[np.inf, np.linspace(2, 1, n - 1)],
        order=np.arange(n),
    )


def test_content_of_a_gpt_has_the_graph_that_it_was_explained_on(gpt):
    model, units, labels, text = gpt
    subject = subject_of(model, labels, text, units=units)
    partition: Hierarchy = found(subject.graph, labels)
    content = report_content(model, partition, title="a GPT", units=units, data=text)
    assert content.graph.capacities == pytest.approx(subject.graph.capacities)
    assert content.vocabulary == text.vocabulary
    assert content.task == "next tokens of one and two"
    assert "A language model of" in words_of(content)
    for picture in content.weights:
        assert picture.matrix.shape == (len(picture.row_modules), len(picture.column_modules))
        assert picture.masses.sum() == pytest.approx(1)
    rows = [len(picture.row_modules) for picture in content.weights]
    between = [1 - picture.masses.trace() for picture in content.weights]
    assert interface_frac(content) == pytest.approx(np.average(between, weights=rows), rel=1e-3)


def test_content_of_a_gpt_can_do_without_its_text(gpt):
    model, units, labels, _ = gpt
    content = report_content(model, found(units, labels), title="a GPT", units=units)
    assert content.of_text
    assert content.vocabulary == ()
    assert "Who holds what" in words_of(content)
