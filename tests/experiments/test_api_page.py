"""The API page: up to date, complete, and its links lead somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import gan3d
from experiments import api_page
from experiments import flags as experiment_flags
from experiments.api_names import public_entries, public_modules

# Reached through the package itself, or of no use by themselves.
INTERNAL = {"pictures", "trained", "training"}
ENTRIES = public_entries()


def test_the_page_is_up_to_date():
    assert api_page.PAGE.read_text() == api_page.page(), f"run {api_page.COMMAND}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.full_name)
def test_a_public_name_has_words_and_an_example(entry):
    assert entry.doc, f"{entry.full_name} has no docstring"
    shown = api_page.shown_by(entry, ENTRIES)
    assert shown is not None, f"{entry.full_name} appears in no example of its module"
    for member in entry.members:
        assert member.doc, f"{member.full_name} has no docstring"
        assert api_page.shown_by(member, ENTRIES), f"{member.full_name} appears in no example"


def test_modules_are_public_or_known_to_be_internal():
    found = {module.name for module in pkgutil.iter_modules(gan3d.__path__)}
    assert {f"gan3d.{name}" for name in found - INTERNAL} == {*public_modules()} - {"gan3d"}


def test_public_names_exist_once():
    for name in public_modules():
        listed = importlib.import_module(name).__all__
        assert len(set(listed)) == len(listed)


def test_links_lead_to_headings():
    headings = re.findall(r"^###? (.*)$", api_page.page(), re.MULTILINE)
    slugs = []
    for heading in headings:
        slug = re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        numbered = [slug, *(f"{slug}-{i}" for i in range(1, len(headings)))]
        slugs.append(next(each for each in numbered if each not in slugs))
    links = re.findall(r"\]\(#([^)]*)\)", api_page.page())
    assert len(links) > len(ENTRIES)
    assert set(links) <= set(slugs)


def test_the_command_writes_the_page(tmp_path, capsys):
    path = tmp_path / "API.md"
    assert experiment_flags.run(api_page.main, ["api_page", f"--out={path}"]) == 0
    assert path.read_text() == api_page.page()
    assert experiment_flags.run(api_page.main, ["api_page", f"--out={tmp_path}"]) == 2
    assert "--out must name a file" in capsys.readouterr().err
