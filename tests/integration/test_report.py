"""``rsmeta report``: one page that holds everything, parsed, and opened in a real browser."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from rsmeta.geo.handles import open_quietly
from rsmeta.gis import page_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeScene
    from tests.integration.conftest import Rsmeta, RunToEnd, TinyRun

#: A class whose name would run as a script, or end one, were it not escaped.
HOSTILE = "</script><script>alert('x')</script><img src=https://example.org/a onerror=alert(1)>"

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


class Parsed(html.parser.HTMLParser):
    """Text, tags and script contents of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._open = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open != "style":
            self.text.append(data)

    @property
    def layers(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.scripts[0])
        return told


def array_of(layers: dict[str, Any], name: str, dtype: str = "<u1") -> np.ndarray:
    values = np.frombuffer(zlib.decompress(base64.b64decode(layers[name])), dtype)
    return values.reshape(layers["height"], layers["width"])


@pytest.fixture(scope="module")
def mapped(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory, run_to_end: RunToEnd
) -> Path:
    folder = tmp_path_factory.mktemp("mapped")
    run_to_end(
        "predict", tiny_run.scene, "--model", tiny_run.bundle, "--output", folder / "map.tif",
        "--confidence", folder / "confidence.tif",
    )  # fmt: skip
    return folder / "map.tif"


def hostile_map(make_scene: MakeScene, folder: Path) -> Path:
    rng = np.random.default_rng(0)
    path = make_scene(folder / "hostile.tif", rng.integers(1, 3, (40, 50)).astype(np.uint8))
    classes = [{"value": 1, "name": HOSTILE, "colour": "#cc2200"},
               {"value": 2, "name": "plain & simple", "colour": "#0033cc"}]  # fmt: skip
    with rasterio.open(path, "r+") as file:
        file.update_tags(RSMETA_CLASSES=json.dumps(classes), RSMETA_SOURCE=HOSTILE)
    return path


def test_a_map_with_all_that_belongs_to_it(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    ended = rsmeta(
        "report", tiny_run.folder, mapped, "--scene", tiny_run.scene, "--reference",
        tiny_run.labels, "--output", page,
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert str(page) in ended.out
    parsed = Parsed(page)
    with rasterio.open(mapped) as file:
        values = file.read(1)
    with rasterio.open(mapped.with_name("confidence.tif")) as file:  # found by its name
        sure = file.read(1)
    layers = parsed.layers
    assert [one["name"] for one in layers["legend"]] == ["bare", "meadow"]
    expected = np.where(values == 255, 255, values - 1)
    assert (array_of(layers, "classes") == expected).all()
    percent = array_of(layers, "confidence")
    assert (percent[values == 255] == 255).all()
    known = values != 255
    assert np.abs(percent[known] - 100 * sure[known]).max() < 0.51
    assert (array_of(layers, "seen") == known).all()
    assert layers["imagery"].startswith("data:image/jpeg;base64,")
    for told in ("against west_labels.tif", "Confusion matrix", "Accuracy on the test part",
                 "Training", "Provenance", "config.yaml", "kappa", "EPSG:32633"):  # fmt: skip
        assert told in parsed.words, told


def test_the_page_names_nothing_outside_itself(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert rsmeta("report", tiny_run.folder, mapped, "--output", page).status == 0
    parsed = Parsed(page)
    for tag, attributes in parsed.tags:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page.read_text()
    assert not re.search(r"url\(", page.read_text())
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_from_files_stay_text(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    path = hostile_map(make_scene, tmp_path)
    ended = rsmeta("report", path, "--reference", path, "--output", page)
    assert ended.status == 0, ended.err
    parsed = Parsed(page)
    assert len(parsed.scripts) == 2
    assert not any(tag == "img" for tag, _ in parsed.tags)
    assert parsed.words.count(HOSTILE) >= 3
    assert parsed.layers["legend"][0]["name"] == HOSTILE


def test_a_run_alone(rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run.folder, tmp_path / "run")
    (run / "gamma_history.csv").write_text(
        "step,site,scale\n0,0.q,1\n0,1.q,1\n8,0.q,1.1\n8,1.q,0.7\n", encoding="utf-8"
    )
    record = (run / "bundle" / "bundle.yaml").read_text()
    record = re.sub(r"^scales:.*$", "scales: {0.q: 1.1, 1.q: 0.7}", record, flags=re.MULTILINE)
    (run / "bundle" / "bundle.yaml").write_text(record)
    ended = rsmeta("report", run)
    assert ended.status == 0, ended.err
    parsed = Parsed(run / "report.html")
    assert "Learned scales" in parsed.words
    cells = [
        a["class"]
        for tag, a in parsed.tags
        if (a.get("class") or "").startswith(("above", "below"))
    ]
    assert cells == ["above", "below strong"]  # the smaller change is the paler one
    assert sum(tag == "polyline" for tag, _ in parsed.tags) >= 2 + 2
    assert not parsed.scripts
    assert "exists already" in rsmeta("report", run).complaint
    assert rsmeta("report", run, "--overwrite").status == 0
    assert rsmeta("report", tiny_run.bundle, "--output", tmp_path / "bundle.html").status == 0


def test_a_large_map_is_thinned(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_layers, "LONGEST_PX", 20)
    path = hostile_map(make_scene, tmp_path)
    scene = make_scene(tmp_path / "scene.tif", np.random.default_rng(0).random((3, 40, 50)) * 9)
    assert rsmeta("report", path, "--scene", scene).status == 0
    parsed = Parsed(tmp_path / "hostile.html")
    layers = parsed.layers
    assert (layers["height"], layers["width"]) == (14, 17)
    left, top = layers["grid"]["transform"][2], layers["grid"]["transform"][5]
    assert (left, top) == (500_000, 5_150_000)
    assert layers["grid"]["transform"][0] * layers["width"] == pytest.approx(500)
    assert "one pixel of 3 by 3" in parsed.words
    with rasterio.open(path) as file:
        plain = (file.read(1) == 2).sum()
    assert f"{plain * 1.0008 / 100:.2f} ha" in parsed.words  # of all pixels; UTM's scale is 0.9996


def test_imagery_on_another_grid_lies_in_its_place(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    from affine import Affine

    path = hostile_map(make_scene, tmp_path)
    place = Affine(20.0, 0.0, 499_900.0, 0.0, -20.0, 5_149_800.0)  # half below, reaches over left
    scene = make_scene(
        tmp_path / "s.tif", np.full((3, 40, 30), 5, np.uint8), transform=place, nodata=0
    )
    assert rsmeta("report", path, "--scene", scene).status == 0
    seen = array_of(Parsed(tmp_path / "hostile.html").layers, "seen")
    assert not seen[:19].any()
    assert seen[21:, :49].all()


def test_what_no_page_can_be_made_of(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    assert "holds no bundle" in rsmeta("report", tiny_run.data).complaint
    assert "does not name its classes" in rsmeta("report", tiny_run.scene).complaint
    assert "one run folder, one map" in rsmeta("report", mapped, mapped).complaint
    other = make_scene(tmp_path / "c.tif", np.zeros((5, 5), np.float32))
    ended = rsmeta("report", mapped, "--confidence", other, "--output", tmp_path / "p.html")
    assert "another grid" in ended.complaint
    assert not (tmp_path / "p.html").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("kind", ["map", "hostile"])
def test_a_browser_draws_it_and_says_nothing(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, make_scene: MakeScene, tmp_path: Path,
    kind: str,
) -> None:  # fmt: skip
    page = tmp_path / "page.html"
    given = (mapped, "--scene", tiny_run.scene) if kind == "map" else (
        hostile_map(make_scene, tmp_path),
    )  # fmt: skip
    assert rsmeta("report", *given, "--output", page).status == 0
    picture = tmp_path / "page.png"
    dom, said = (
        browse(page, tmp_path, "--dump-dom"),
        browse(page, tmp_path, f"--screenshot={picture}"),
    )
    assert 'data-ready="yes"' in dom.stdout
    for ended in (dom, said):
        assert "CONSOLE" not in ended.stderr, ended.stderr
    with open_quietly(picture) as file:
        pixels = file.read([1, 2, 3]).reshape(3, -1).T
    if kind == "hostile":  # without imagery classes are drawn in their full colours
        for colour in ((0xCC, 0x22, 0x00), (0x00, 0x33, 0xCC)):
            assert (pixels == colour).all(axis=1).mean() > 0.02
    urls = set(re.findall(r'"url":"([^"]+)"', (tmp_path / "net.json").read_text()))
    # the browser asks its maker for news now and then; the page itself asks nobody
    assert not {url for url in urls if "example" in url}


def browse(page: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    return subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}",
            "--enable-logging=stderr", "--virtual-time-budget=6000", "--window-size=1200,900",
            *words, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
