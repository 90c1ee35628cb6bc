"""The report as a file: what is in it, what is not, and what can never be."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made import ALWAYS, SECTIONS, description, explained, full, hierarchy, least

from partwise.errors import OutputError
from partwise.explain import Failed
from partwise.modules import Significance
from partwise.report import write_report
from partwise.report.html import render_report

HOSTILE = "<script>alert(1)</script><a href='javascript:alert(2)'>\"><img src=x onerror=alert(3)>"


class Elements(HTMLParser):
    """All start tags of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def section_ids(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


def test_a_full_report_has_every_section_in_order():
    assert Elements(render_report(full())).section_ids() == list(SECTIONS)


def test_sections_without_content_are_left_out():
    page = Elements(render_report(least()))
    assert page.section_ids() == list(ALWAYS)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["#summary", *(f"#{key}" for key in ALWAYS)]  # the skip link, then the list


@pytest.mark.parametrize(
    ("field", "section"),
    [
        ("weights", "weights"),
        ("histories", "training"),
        ("explained", "modules"),
        ("explained", "interfaces"),
        ("audits", "audit"),
    ],
)
def test_each_section_goes_with_its_content(field, section):
    content = full()
    empty = type(getattr(content, field))()
    assert section not in Elements(render_report(replace(content, **{field: empty}))).section_ids()


def test_ids_are_unique_and_every_link_leads_somewhere():
    page = Elements(render_report(full()))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert targets <= {f"#{each}" for each in ids}


def test_the_file_loads_nothing_and_runs_nothing():
    html = render_report(full())
    page = Elements(html)
    for tag, attrs in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attrs.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, name, value)
    assert "http:" not in html
    assert "https:" not in html
    assert not re.search(r"url\(|@import", html)


def test_the_security_policy_allows_only_this_style_and_inline_images():
    page = Elements(render_report(full()))
    (policy,) = (a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; img-src data:; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )


def test_hostile_descriptions_are_text_and_nothing_else():
    said = description(HOSTILE, name=HOSTILE[:80])
    failed = Failed(reason=HOSTILE, raw_reply="</pre></details>" + HOSTILE)
    content = replace(
        full(),
        title=HOSTILE,
        explained=[explained((0,), said), explained((1,), failed), explained((0, 1), said)],
        facts={HOSTILE: HOSTILE},
    )
    calm, page = Elements(render_report(full())), Elements(render_report(content))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in calm.tags}
    assert not [a for _, a in page.tags if any(n.startswith("on") for n in a)]
    assert not [a for t, a in page.tags if t == "a" and not a["href"].startswith("#")]
    assert any(HOSTILE in text for text in page.text)  # shown, as text


def test_programs_and_claims_of_hostile_writers_are_escaped():
    claim = description().claims[0].model_copy(update={"sentence": HOSTILE})
    each = explained((0,))
    verdict = each.verdicts[0].model_copy(update={"claim": claim})
    said = description().model_copy(update={"program": HOSTILE})
    hostile = each.model_copy(update={"verdicts": (verdict,), "description": said})
    html = render_report(replace(full(), explained=[hostile]))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_characters_that_hide_or_reorder_text_are_shown():
    tricky = "safe\u202egnp.exe\u200b\x00\ud800"
    html = render_report(replace(full(), title=tricky))
    assert "safe\ufffdgnp.exe\ufffd\ufffd\ufffd" in html
    html.encode("utf-8")


def test_refuted_claims_and_failed_descriptions_stay_visible():
    failed = Failed(reason="the reply was cut off", raw_reply='{"name": "x')
    content = replace(full(), explained=[explained((0,)), explained((1,), failed)])
    text = " ".join(Elements(render_report(content)).text)
    for words in ("refuted", "undecided", "supported", "the reply was cut off", '{"name": "x'):
        assert words in text
    assert "1 description failed" in text


def test_the_guilty_module_its_evidence_and_the_repair_are_named():
    text = " ".join(" ".join(Elements(render_report(full())).text).split())
    assert "Flagged. Module 1 obeys a trigger" in text
    assert "2 inputs can force the answer 'first' = 1 on 97% of held-out samples" in text
    assert "Setting pixel 1,1 = 0.7 gives 1 on 97%." in text
    for share in ("97%", "4%", "90%", "89%"):
        assert share in text


def test_significance_is_told_in_words_and_its_absence_too():
    reached = Significance(0.2, 0.3, 0.1, -1.0, 0.6, 39)
    for test, words in (
        (Significance(0.4, 0.1, 0.02, 15.0, 0.025, 39), "No shuffled network came as far"),
        (reached, "shuffled networks come as far by chance"),
        (None, "No test against shuffled networks was run"),
    ):
        assert words in render_report(replace(full(), hierarchy=hierarchy(test)))


def test_pictures_are_drawn_for_pixels_and_numbers_for_the_rest():
    with_pixels = render_report(replace(least(), explained=[explained((0,), picture=True)]))
    without = render_report(replace(least(), explained=[explained((0,), picture=False)]))
    assert with_pixels.count("<img") == 4  # two examples; the reading map, in the map and the card
    assert without.count("<img") == 0
    assert "pixel 0,0 = 1" in without


def test_every_picture_has_words_and_every_table_a_caption():
    html = render_report(full())
    for tag, attrs in Elements(html).tags:
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
    assert html.count("<table") == html.count("<caption>")


def test_same_content_same_bytes(tmp_path):
    write_report(tmp_path / "a.html", full())
    write_report(tmp_path / "b.html", full())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "missing" / "report.html", least())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rendering_keeps_the_old_report(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, least())
    before = path.read_bytes()
    broken = replace(full(), histories={"plain": [{"step": "one"}, None]})
    with pytest.raises(AttributeError):
        write_report(path, broken)
    assert path.read_bytes() == before
