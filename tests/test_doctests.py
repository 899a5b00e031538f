"""The examples: those of the public names, as the API page shows them, and all other ones."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import pkgutil
from pathlib import Path

import pytest
from saved_run import TINY, save_run

import gan3d
from experiments.api_names import public_entries
from experiments.api_page import IMPORTS, OBJECTS
from gan3d.training.metrics import METRICS_NAME
from gan3d.training.record import PREFIX

IMAGES_SEEN = 320
PUBLIC = [entry for entry in public_entries() if ">>>" in entry.doc]
# Imported only if they have examples: some modules need packages that are optional.
MODULES = [
    found.name
    for found in pkgutil.walk_packages(gan3d.__path__, "gan3d.")
    if ">>>" in Path(found.module_finder.find_spec(found.name).origin).read_text()
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What the page says that every example has; the run is finished, tiny and quick to compile."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    config = dataclasses.replace(TINY, images=IMAGES_SEEN, margin_pixels=0.0)
    save_run(run, config, IMAGES_SEEN)
    looked = {"images": IMAGES_SEEN, f"{PREFIX}coverage_median": 0.3}
    (run / METRICS_NAME).write_text(json.dumps(looked) + "\n")
    names = {"run": run}
    exec(IMPORTS + OBJECTS, names)
    return names


@pytest.mark.parametrize("entry", PUBLIC, ids=lambda entry: entry.full_name)
def test_example_of_a_public_name(entry, shared, tmp_path):
    module = importlib.import_module(entry.module)
    own = {name: getattr(module, name) for name in module.__all__}
    names = {**shared, **own, "folder": tmp_path}
    test = doctest.DocTestParser().get_doctest(entry.doc, names, entry.full_name, None, 0)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_other_examples(name):
    module = importlib.import_module(name)
    assert module.__name__ == name  # the package's functions of the same name hide some modules
    shown = {example.source for entry in PUBLIC for example in examples(entry.doc)}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        if test.examples and not {example.source for example in test.examples} <= shown:
            assert runner.run(test).failed == 0


def examples(doc: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(doc)
