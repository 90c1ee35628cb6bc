"""The report in a real browser."""

import made
import made_text
import pytest

from partwise.report import write_report


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 375])
@pytest.mark.parametrize("kind", [made, made_text])
def test_every_section_is_seen_without_a_complaint(chromium, tmp_path, width, scheme, kind):
    write_report(tmp_path / "report.html", kind.full())
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    for section in kind.SECTIONS:
        assert page.locator(f"section#{section}").is_visible()
        assert page.locator(f"section#{section} h2").is_visible()
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")  # the style applies
    assert paper == {"light": "rgb(251, 250, 246)", "dark": "rgb(20, 21, 24)"}[scheme]
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
