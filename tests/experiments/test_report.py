"""The report of a run: what is in the file, and what the page does in a browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
import types

import jax
import numpy as np
import pytest
from chromium import open_chromium
from PIL import Image
from report_pictures import angles, data_of, iou, object_of, outline, overlap, picture_of, seen
from saved_record import save_record
from saved_run import TINY, save_run

import gan3d
from experiments import report, report_samples

HOSTILE = "<script>hacked=1<!--&\"'${x}"  # a directory may be called so
NUM = 2
SAME = 0.98  # IoU of outlines; neighbouring views of this run have 0.96 and less
VIEWS = ("-90", "-45", "0", "45", "90")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of a tiny run with everything in it, its generator, and its text."""
    run_dir = tmp_path_factory.mktemp("runs") / HOSTILE
    save_run(run_dir, dataclasses.replace(TINY, fov_degrees=35.0))
    save_record(run_dir)
    generator, lines = gan3d.load(run_dir), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan3d, "load", lambda _: generator, raising=False)  # compiled once
        path = report.write_report(run_dir, num=NUM, seed=3, report=lines.append)
    text = path.read_text()
    return types.SimpleNamespace(
        run_dir=run_dir, path=path, text=text, generator=generator, lines=lines,
        samples=json.loads(data_of(text, "samples-data")),
    )  # fmt: skip


def test_the_report_goes_into_the_run_and_says_how_large_it_is(written):
    assert written.path == written.run_dir / "report.html"
    assert "320 images seen; drawing 2 samples" in written.lines[0]
    assert f"{written.path} ({len(written.text.encode()) / 1e6:.2f} MB)" == written.lines[1]
    assert len(written.text) < 200_000
    assert not list(written.run_dir.glob("*.tmp"))


def test_vertices_come_back_within_the_quantisation(written):
    data, generator = written.samples, written.generator
    key, _ = jax.random.split(jax.random.key(3))
    scenes = generator.scene(generator.sample(key, NUM))
    for i, sample in enumerate(data["samples"]):
        levels = np.frombuffer(base64.b64decode(sample["vertices"]), "<u2").reshape(-1, 3)
        vertices = np.asarray(sample["low"]) + np.asarray(sample["step"]) * levels
        error = np.abs(vertices - np.asarray(generator.vertices(scenes)[i], np.float64))
        assert (error.max(axis=0) <= 0.5 * np.asarray(sample["step"]) + 1e-5).all()
        assert np.ptp(vertices, axis=0).max() / max(sample["step"]) > 60_000
    topology = generator.parts.stage.topology
    faces = np.frombuffer(base64.b64decode(data["faces"]), "<u2").reshape(-1, 3)
    np.testing.assert_array_equal(faces, topology.faces)
    uvs = np.frombuffer(base64.b64decode(data["uvs"]), "<u2").reshape(-1, 2) / 65535
    np.testing.assert_allclose(uvs, topology.uvs, atol=1e-5)
    assert data["stage"]["focal"] == pytest.approx(1 / math.tan(math.radians(35) / 2))


def test_a_flat_mesh_is_quantised_too():
    points = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, -2.0]])
    levels, low, step = report_samples.quantise(points)
    np.testing.assert_allclose(low + step * levels, points)


def test_what_comes_from_the_run_is_escaped(written):
    assert HOSTILE not in written.text and "<b>truth" not in written.text
    assert written.text.count("<script") == 3 == written.text.count("</script>")
    assert "<title>&lt;script&gt;hacked=1&lt;!--&amp;" in written.text
    dangerous = {"a": "</script><!-- &"}
    assert not set("<>&") & set(report.json_in_script(dangerous))
    assert json.loads(report.json_in_script(dangerous)) == dangerous


def test_the_page_names_no_other_address(written):
    addresses = set(re.findall(r"""(?:src|href)=["']([a-z]*:?)""", written.text))
    assert addresses == {"data:"}
    assert "http" not in re.sub("http-equiv", "", written.text)


def test_every_part_is_there(written):
    for text in (
        "320 of 96,000",
        "<code>surface_size</code> 16 instead of 32",
        "preset: 32",
        "the mesh is folded (40.0% of the faces flipped)",
        '<tr class="beyond"><th scope="row">flipped faces',
        "losses",
        "coverage of the samples",
        "At 240 images seen",
        "1 could not be read",
        "<td>0.900</td>",
        "<td>0.000</td>",
        "--num=2 --seed=3 --truncation=1",
    ):
        assert text in written.text, text


def test_a_young_run_says_what_is_missing(written, tmp_path):
    run_dir = tmp_path / "young"
    run_dir.mkdir()
    page = report.render_page(run_dir, written.generator, written.samples, [], None, "command")
    for text in ("no metrics yet", "not been looked at yet", "no sheets", "not been evaluated yet"):
        assert text in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def page(browser, written):
    """The report, opened from the disk; in the end it asked for nothing, and nothing went wrong."""
    page, complaints, requests = browser.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(written.path.as_uri())
    page.wait_for_selector("canvas[data-sample='1']")
    yield page
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {written.path.as_uri()}
    page.close()


def test_canonical_views_are_those_of_the_renderer(page, written):
    sample = written.samples["samples"][0]
    assert overlap(page, sample["thumbnail"]) > SAME
    for view, still in zip(VIEWS, sample["stills"], strict=True):
        page.click(f"[data-yaw='{view}']")
        assert overlap(page, still) > SAME
    # Turned the wrong way, mirrored or upside down they would not be.
    left, right = outline(sample["stills"][0]), outline(sample["stills"][-1])
    assert max(iou(left, right), iou(left, left[:, ::-1]), iou(left, left[::-1])) < 0.9


def test_colours_are_those_of_the_renderer(page, written):
    page.uncheck("[name=shaded]")
    page.click("[data-yaw='0']")
    pixels, still = seen(page), picture_of(written.samples["samples"][0]["stills"][2], "RGBA")
    small = np.asarray(Image.fromarray(pixels).resize(still.shape[:2])).astype(int)
    inside = still[..., 3] == 255
    assert inside.mean() > 0.1
    assert np.abs(small - still[..., :3])[inside].mean() < 8


def test_the_mouse_turns_zooms_and_resets(page, written):
    page.click("[data-yaw='0']")
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = seen(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 2, y, steps=4)
    page.mouse.up()
    # The object follows the mouse to the right, so the camera goes left.
    assert overlap(page, written.samples["samples"][0]["stills"][0]) > SAME
    assert angles(page) == [-90, 0, 1]
    assert (seen(page) != before).any()
    page.mouse.move(x, y)  # back, without a button: nothing
    assert angles(page) == [-90, 0, 1]

    small = object_of(page).sum()
    page.mouse.wheel(0, -200)
    page.wait_for_selector("output:has-text('zoom 1.3')")
    assert object_of(page).sum() > 1.3 * small
    page.mouse.dblclick(x, y)
    page.wait_for_selector("output:has-text('zoom 1.0')")
    assert angles(page) == [25, 8, 1]


def test_two_fingers_zoom_and_one_turns(page, browser):
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = browser.new_cdp_session(page)

    def fingers(kind, *places):
        points = [{"x": x + dx, "y": y, "id": i} for i, dx in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", -40, 40)
    for apart in (50, 60, 80):
        fingers("touchMove", -apart, apart)
    fingers("touchEnd")
    page.wait_for_selector("output:has-text('zoom 2.0')")
    assert angles(page)[:2] == [25, 8]
    fingers("touchStart", 0)
    for along in (-30, -60, -90):
        fingers("touchMove", along)
    fingers("touchEnd")
    page.wait_for_selector("output:not(:has-text('yaw 25'))")
    assert angles(page)[0] > 30


def test_the_keyboard_alone_is_enough(page):
    page.locator("canvas").focus()
    for key, expected in (
        ("ArrowLeft", [30, 8, 1]), ("ArrowRight", [25, 8, 1]), ("ArrowDown", [25, 13, 1]),
        ("ArrowUp", [25, 8, 1]), ("+", [25, 8, 1.1]), ("0", [25, 8, 1]), ("-", [25, 8, 0.9]),
        ("Home", [25, 8, 1]),
    ):  # fmt: skip
        page.keyboard.press(key)
        seen(page)
        assert angles(page) == expected, key
    names = page.eval_on_selector_all(
        "input, button", "all => all.map((e) => (e.labels?.[0] ?? e).textContent.trim() ||"
        " e.labels[0].querySelector('img').alt)",
    )  # fmt: skip
    assert len(names) > 12 and all(names)
    page.locator("[name=sample]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("canvas[data-sample='2']")


def test_modes_and_switches_change_the_picture(page):
    pictures = []
    for mode in ("texture", "clay", "normals", "wireframe"):
        page.check(f"[value={mode}]", force=True)
        pictures.append(seen(page))
    page.check("[value=texture]", force=True)
    for switch in ("shaded", "backdrop"):
        page.click(f"[name={switch}]")
        pictures.append(seen(page))
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    paper = pictures[0][12, 12]
    assert (pictures[-2][12, 12] == paper).all() and (pictures[-1][12, 12] != paper).any()
    before = angles(page)
    page.check("[name=turning]")
    page.wait_for_timeout(150)
    page.uncheck("[name=turning]")
    assert angles(page)[0] != before[0]


def test_sheets_and_curves(page):
    hidden = "all => all.map((e) => e.hidden)"
    assert page.eval_on_selector_all("#sheets-over-time img", hidden) == [True, False]
    page.locator("#sheets-over-time input").focus()
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#sheets-over-time output") == "0"
    assert page.eval_on_selector_all("#sheets-over-time img", hidden) == [False, True]
    plot = page.locator("#training-panels svg").first
    plot.hover()
    assert re.fullmatch(r"0\.1 · 0\.2 at [\d,]+", page.locator(".readout").first.inner_text())


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert object_of(page).any()
    page.set_viewport_size({"width": 900, "height": 760})


def test_names_of_runs_are_text(page):
    assert page.inner_text("h1") == HOSTILE
    assert page.title().startswith(HOSTILE)
    assert page.evaluate("typeof hacked") == "undefined"


def test_in_print_and_without_webgl_there_are_still_pictures(page, browser, written):
    assert not page.is_visible(".stills img >> nth=0")
    page.emulate_media(media="print")
    assert page.is_visible(".stills img >> nth=0") and not page.is_visible("canvas")

    other = browser.new_page()
    other.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    other.goto(written.path.as_uri())
    assert "needs WebGL 2" in other.inner_text("#no-viewer")
    assert other.is_visible(".stills img >> nth=0") and not other.is_visible("canvas")
    other.locator("#sheets-over-time input").press("Home")
    assert other.inner_text("#sheets-over-time output") == "0"
    other.close()
