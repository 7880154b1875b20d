"""The look, read from the files: contrast of every pair of colours, and no code in pages."""

from __future__ import annotations

import re

import pytest

from fossilrepo import resources

SHEET = (resources.static() / "site.css").read_text()
# Text on what it stands on; the least ratio is that of WCAG 2.2 AA for text.
PAIRS = [
    *(("text", ground) for ground in ("ground", "sheet", "code", "accent-soft")),
    *(("soft", ground) for ground in ("ground", "sheet", "code", "warn-soft", "bad-soft")),
    *(("accent", ground) for ground in ("ground", "sheet", "code")),
    *((tone, ground) for tone in ("good", "warn", "bad") for ground in ("ground", "sheet")),
    *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad")),
    ("bad", "warn-soft"),
    ("accent-text", "accent"),
]


def palette(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))


LIGHT = palette(SHEET.split("@media (prefers-color-scheme: dark)")[0])
DARK = palette(SHEET.split("@media (prefers-color-scheme: dark)")[1])


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_what_it_stands_on(colours: dict[str, str]) -> None:
    assert colours.keys() == LIGHT.keys()
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    fields = contrast(colours["field"], colours["sheet"])
    assert fields >= 3


def test_no_page_has_code_or_looks_of_its_own() -> None:
    for path in resources.templates().glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<style|style=|\son[a-z]+=|javascript:|hx-on|\|safe", text), path.name
        assert not re.findall(r"<script(?! src)", text), path.name


def test_every_form_that_changes_something_carries_the_token() -> None:
    open_to_strangers = {
        "login.html",
        "login_second.html",
        "setup.html",
        "invited.html",
        "reset.html",
        "forgot.html",
    }  # nobody has a session there
    open_to_strangers |= {"open.html"}  # goes to a repository's host, which must not learn it
    for path in resources.templates().glob("*.html"):
        for form in re.findall(r'<form method="post".*?</form>', path.read_text(), re.S):
            assert "csrf_field()" in form or path.name in open_to_strangers, path.name
