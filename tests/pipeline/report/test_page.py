"""The page in a real browser, from disk: it shows, filters, orbits and cuts, and no text becomes script."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tests.helpers.reported import ATTACK, HOSTILE, SHAPES

pytest.importorskip("playwright", reason="playwright is not installed (extra: dev)")
from playwright import sync_api

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT = 20_000  # milliseconds
ALL = len(SHAPES) + len(HOSTILE)
PAGES = {
    "overview": "#/",
    "gallery": "#/gallery",
    "model": "#/model/cube",
    "curation": "#/curation",
    "training": "#/training",
}
"""Section -> address."""


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[sync_api.Page]:
    """A tab with the report open. `quiet` listens to its console."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        tab.set_default_timeout(WAIT)
        tab.goto(page.as_uri())
        yield tab
        browser.close()


@pytest.fixture(autouse=True)
def quiet(tab: sync_api.Page) -> Iterator[None]:
    """No errors or warnings in the console, no dialog, no request that leaves the disk, no hostile script."""
    found: list[str] = []

    def hear(message: sync_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            found.append(message.text)

    def fail(error: sync_api.Error) -> None:
        found.append(str(error))

    def ask(request: sync_api.Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            found.append(request.url)

    listeners = {"console": hear, "pageerror": fail, "request": ask}
    for event, listener in listeners.items():
        tab.on(event, listener)  # type: ignore[call-overload]
    yield
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert found == []
    assert tab.evaluate("typeof hacked") == "undefined"


def until(tab: sync_api.Page, expression: str) -> None:
    """Wait for a condition; `wait_for_function` would need the page's policy to allow eval."""
    for _ in range(WAIT // 50):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never: {expression}")


def go(tab: sync_api.Page, address: str) -> None:
    tab.evaluate("address => { location.hash = address; }", address)


def status(tab: sync_api.Page, text: str) -> None:
    sync_api.expect(tab.locator("#gallery [role=status]")).to_have_text(text, timeout=WAIT)


def open_gallery(tab: sync_api.Page, query: str = "?") -> None:
    go(tab, f"#/gallery{query}")
    sync_api.expect(tab.locator("#gallery .card").first).to_be_visible(timeout=WAIT)


def open_model(tab: sync_api.Page, uid: str) -> None:
    tab.evaluate("uid => { location.hash = `#/model/${encodeURIComponent(uid)}`; }", uid)
    sync_api.expect(tab.locator("#model h1")).to_have_text(uid, timeout=WAIT)
    sync_api.expect(tab.locator("#model canvas")).to_be_visible(timeout=WAIT)


def canvas(tab: sync_api.Page) -> np.ndarray:
    """(H, W, 3) int64: the 3D view on the screen, two frames from now, without the focus ring."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with Image.open(io.BytesIO(tab.locator("#model .stage").screenshot())) as image:
        return np.array(image.convert("RGB")).astype(int)[12:-12, 12:-12]


def covered(pixels: np.ndarray) -> int:
    """Pixels that are not the background, the corner's color."""
    return int((np.abs(pixels - pixels[2, 2]).max(-1) > 12).sum())


def test_the_overview_counts_and_shows_logs(tab: sync_api.Page):
    tiles = tab.locator("#overview .tile")
    sync_api.expect(tiles.first).to_contain_text("4models rendered3 failed", timeout=WAIT)
    tab.locator("#overview .kind summary", has_text="crash").first.click()
    failure = tab.locator("#overview .failure").first
    failure.locator("summary").click()
    assert ATTACK in failure.inner_text() and "<script>hacked=1</script>" in failure.inner_text()
    sync_api.expect(tab.locator("#overview .uplot").first).to_be_visible(timeout=WAIT)


def test_the_curation_shows_clusters_and_leads_to_their_models(tab: sync_api.Page):
    go(tab, "#/curation")
    clusters = tab.locator("#curation .cluster")
    sync_api.expect(clusters).to_have_count(2, timeout=WAIT)
    assert ATTACK in clusters.nth(1).inner_text()
    until(tab, "document.querySelector('#curation .cluster img').naturalWidth == 96")
    clusters.first.get_by_role("link", name="4 in the gallery").click()
    status(tab, f"4 of {ALL} models")
    go(tab, "#/curation")
    tab.locator("#curation").get_by_role("link", name="1 flat").click()
    status(tab, f"1 of {ALL} models")
    open_model(tab, "tower")
    sync_api.expect(tab.locator("#model .aside")).to_contain_text("left out: flat", timeout=WAIT)


def test_the_gallery_searches_filters_and_sorts(tab: sync_api.Page):
    open_gallery(tab)
    status(tab, f"{ALL} models")
    tab.get_by_label("Search", exact=True).fill("tow")
    status(tab, f"1 of {ALL} models")
    tab.get_by_label("Search", exact=True).fill("")
    status(tab, f"{ALL} models")
    tab.get_by_label("Sort by", exact=True).select_option("render seconds")
    sync_api.expect(tab.locator(".card .name").first).to_have_text("tower", timeout=WAIT)
    tab.get_by_label("From", exact=True).fill("2.5")
    tab.get_by_label("From", exact=True).press("Enter")
    status(tab, f"2 of {ALL} models")
    assert "in%3Arender+seconds=2.5..4" in tab.url
    tab.locator(".chip").click()
    tab.locator("#gallery .side .check", has_text="__proto__").locator("input").check()
    status(tab, f"{len(HOSTILE)} of {ALL} models")
    assert tab.locator(".chip").count() == 1
    tab.locator(".chip").click()
    status(tab, f"{ALL} models")


def test_pictures_of_every_uid_load(tab: sync_api.Page):
    open_gallery(tab)
    status(tab, f"{ALL} models")
    loaded = "[...document.querySelectorAll('.card img')].every(i => i.complete && i.naturalWidth)"
    until(tab, loaded)
    assert tab.locator(".card").count() == ALL


def test_the_keyboard_moves_through_the_gallery(tab: sync_api.Page):
    open_gallery(tab)
    names = tab.locator(".card .name").all_inner_texts()
    tab.locator(".card[tabindex='0']").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    focused = tab.evaluate("document.activeElement.querySelector('.name').textContent")
    assert focused == names[2]
    tab.keyboard.press("Enter")
    sync_api.expect(tab.locator("#model h1")).to_have_text(names[2], timeout=WAIT)
    tab.keyboard.press("]")
    sync_api.expect(tab.locator("#model h1")).to_have_text(names[3], timeout=WAIT)


def test_a_model_orbits_and_is_cut_open(tab: sync_api.Page):
    open_model(tab, "cube")
    before = canvas(tab)
    assert covered(before) > 5000
    box = tab.locator("#model canvas").bounding_box()
    assert box
    tab.mouse.move(box["x"] + 300, box["y"] + 200)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 420, box["y"] + 220, steps=3)
    tab.mouse.up()
    turned = canvas(tab)
    assert (np.abs(turned - before).max(-1) > 12).mean() > 0.01
    tab.locator("#model canvas").focus()
    tab.keyboard.press("0")
    assert np.array_equal(canvas(tab), before)
    tab.get_by_label("Cut", exact=True).select_option("z")
    tab.get_by_label("Position", exact=True).fill("-0.5")
    cut = canvas(tab)
    tab.get_by_label("Cut", exact=True).select_option("")
    assert covered(cut) < 0.8 * covered(before)
    tab.get_by_role("checkbox", name="Outside").uncheck()
    tab.get_by_role("checkbox", name="Hidden").uncheck()
    assert covered(canvas(tab)) == 0
    tab.get_by_role("checkbox", name="Outside").check()
    tab.get_by_role("checkbox", name="Hidden").check()
    assert np.array_equal(canvas(tab), before)


def test_the_cloud_has_the_color_that_is_chosen(tab: sync_api.Page):
    open_model(tab, "plate")  # all green
    for mode, test in {
        "albedo": lambda p: p[1] > 2 * max(p[0], p[2]),
        "label": lambda p: np.ptp(p) < 30,
        "normal": lambda p: p[2] > p[0] and p[2] > p[1],  # its top faces up
    }.items():
        tab.locator("#model").get_by_label("Color", exact=True).select_option(mode)
        pixels = canvas(tab)
        middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
        assert test(middle), (mode, middle)
    tab.locator("#model").get_by_label("Color", exact=True).select_option("lit")


def test_views_have_their_kinds_and_alternative_texts(tab: sync_api.Page):
    open_model(tab, "ball")
    tab.locator(".pick").nth(1).click()
    assert tab.locator(".pick").nth(1).get_attribute("aria-pressed") == "true"
    texts = [image.get_attribute("alt") for image in tab.locator("#model .figures img").all()]
    assert texts[0] == "Lit color" and texts[1] == "Albedo" and (texts[2] or "").startswith("Depth, ")
    assert all(texts)


@pytest.mark.parametrize("uid", HOSTILE)
def test_a_hostile_model_is_only_text(tab: sync_api.Page, uid: str):
    open_model(tab, uid)
    sync_api.expect(tab.locator("#model .aside")).to_contain_text(ATTACK, timeout=WAIT)
    sync_api.expect(tab.locator("#model .aside")).to_contain_text("no such bundle", timeout=WAIT)
    assert tab.locator("main script, main img[src='x']").count() == 0


def test_training_shows_curves_samples_and_scores(tab: sync_api.Page):
    go(tab, "#/training")
    sync_api.expect(tab.locator("#training h1")).to_have_text("demo", timeout=WAIT)
    sync_api.expect(tab.locator("#training .uplot")).to_be_visible(timeout=WAIT)
    tab.get_by_label("Step", exact=True).fill("0")
    sync_api.expect(tab.locator("#training output")).to_have_text("step 0", timeout=WAIT)
    until(tab, "document.querySelector('#training .sheet img').naturalWidth > 0")
    sync_api.expect(tab.get_by_role("row", name="EMD")).to_have_text("EMD0.50.25–")


def test_a_hundred_thousand_cards_are_a_window_of_a_few(tab: sync_api.Page):
    open_gallery(tab)
    counts = tab.evaluate(
        """() => {
            const scroller = document.querySelector("#gallery .scroller").cloneNode(false);
            scroller.style.height = "600px";
            document.querySelector("#gallery .results").append(scroller);
            const grid = new report.Grid(scroller, (row) => report.el("a", {href: "#/"}, String(row)));
            grid.show(Uint32Array.from({length: 100000}, (_, row) => row), 168, 192);
            grid.focus(99999);
            const found = [grid.cards.size, document.activeElement.textContent, scroller.scrollHeight];
            scroller.remove();
            return found;
        }"""
    )
    assert counts[0] < 150 and counts[1] == "99999" and counts[2] > 1_000_000


def test_dark_and_light(tab: sync_api.Page):
    color = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(color)
    tab.locator("#theme").click()
    assert tab.evaluate(color) != light
    tab.locator("#theme").click()
    assert tab.evaluate(color) == light


@pytest.mark.parametrize(
    ("scheme", "rules"), [("light", "{}"), ("dark", "{runOnly: ['color-contrast', 'link-in-text-block']}")]
)
def test_axe_finds_no_barrier_on_any_page(tab: sync_api.Page, scheme: Literal["light", "dark"], rules: str):
    """Names of controls, contrast, landmarks, headings: the rules of WCAG 2 that a program can check."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe (extra: dev)").Axe()
    tab.evaluate(axe.axe_script)
    tab.emulate_media(color_scheme=scheme)
    for section, address in PAGES.items():
        go(tab, address)
        tab.locator(f"#{section} h1").wait_for(state="attached")
        options = f"{{preload: false, ...{rules}}}"  # it would request style sheets, which the page forbids
        found = tab.evaluate(f"axe.run({options})")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], address
    tab.emulate_media(color_scheme="light")
