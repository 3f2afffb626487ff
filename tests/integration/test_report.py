"""``rsmeta report``: one page that holds everything, parsed, and opened in a real browser."""

from __future__ import annotations

import base64
import html.parser
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio

from rsmeta.geo.handles import open_quietly
from rsmeta.gis.page import layers as page_layers

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


def numbers_map(make_scene: MakeScene, folder: Path) -> tuple[Path, np.ndarray]:
    """A map of numbers with a corner without data and one pixel far from all others."""
    row, col = np.mgrid[:60, :80]
    numbers = (120 + 40 * np.sin(row / 9) * np.cos(col / 13)).astype(np.float32)
    numbers[:10, :20], numbers[30, 40] = np.nan, 400
    path = make_scene(folder / "biomass.tif", numbers, nodata=np.nan, descriptions=("biomass",))
    with rasterio.open(path, "r+") as file:
        file.units = ("t/ha",)
    return path, numbers


def many_map(make_scene: MakeScene, folder: Path) -> tuple[Path, np.ndarray]:
    """A map of 300 classes, of which every other occurs, the first over half of the ground."""
    rng = np.random.default_rng(0)
    values = (2 * rng.integers(1, 151, (40, 50))).astype(np.uint16)
    values[:20] = 2
    path = make_scene(folder / "many.tif", values, nodata=65535)
    classes = [{"value": v, "name": f"kind {v}", "colour": f"#{v * 50021 % 2**24:06x}"}
               for v in range(1, 301)]  # fmt: skip
    with rasterio.open(path, "r+") as file:
        file.update_tags(RSMETA_CLASSES=json.dumps(classes))
    return path, values


def pixel_map(make_scene: MakeScene, folder: Path) -> Path:
    path = make_scene(folder / "pixel.tif", np.array([[1]], dtype=np.uint8), nodata=255)
    classes = [{"value": 1, "name": "the only one", "colour": "#cc2200"}]
    with rasterio.open(path, "r+") as file:
        file.update_tags(RSMETA_CLASSES=json.dumps(classes))
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
    assert (array_of(layers, "cells") == expected).all()
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


def test_a_map_of_numbers_has_a_ramp_and_statistics(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    path, numbers = numbers_map(make_scene, tmp_path)
    scene = make_scene(tmp_path / "s.tif", np.full((3, 60, 80), 5, np.uint8))
    ended = rsmeta("report", path, "--scene", scene)
    assert ended.status == 0, ended.err
    parsed = Parsed(tmp_path / "biomass.html")
    layers = parsed.layers
    told = layers["quantity"]
    known = np.isfinite(numbers)
    assert told["unit"] == "t/ha"
    assert told["cut"] == [False, True]
    assert (told["low"], told["high"]) == pytest.approx(
        (numbers[known].min(), numbers[known].mean() + 4 * numbers[known].std()), rel=1e-4
    )
    differences = array_of(layers, "cells", "<u2")
    steps = np.cumsum(differences, axis=1, dtype=np.uint16)
    assert (steps[~known] == 65535).all()
    seen = told["low"] + steps[known] / told["steps"] * (told["high"] - told["low"])
    expected = np.minimum(numbers[known], told["high"])
    assert np.abs(seen - expected).max() <= 0.51 * (told["high"] - told["low"]) / told["steps"]
    # the ramp is that of the style beside the map: two standard deviations
    assert told["stops"][-1][0] == pytest.approx(
        numbers[known].mean() + 2 * numbers[known].std(), rel=1e-4
    )
    for words in ("largest 400 t/ha", f"mean {numbers[known].mean():.4g} t/ha", "mean: 1 px",
                  "biomass in t/ha", "46.04 ha mapped"):  # fmt: skip
        assert words in parsed.words, words
    bars = [a for tag, a in parsed.tags if tag == "rect" and a.get("class") == "bin"]
    assert len(bars) == 48
    assert not any(a.get("data-class") for _, a in parsed.tags)


def test_a_map_of_numbers_without_any(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    for name, value in (("none", np.nan), ("same", 7.0)):
        make_scene(tmp_path / f"{name}.tif", np.full((4, 5), value, np.float32), nodata=np.nan)
        assert rsmeta("report", tmp_path / f"{name}.tif").status == 0
    assert "holds no number" in Parsed(tmp_path / "none.html").words
    assert "smallest 7" in Parsed(tmp_path / "same.html").words


def test_of_many_classes_those_that_occur_are_listed_the_largest_first(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    path, values = many_map(make_scene, tmp_path)
    ended = rsmeta("report", path, "--reference", path)
    assert ended.status == 0, ended.err
    parsed = Parsed(tmp_path / "many.html")
    listed = [int(a["data-class"] or 0) for _, a in parsed.tags if "data-class" in a]
    assert listed[0] == 1
    assert len(listed) == len(np.unique(values)) < 160
    counts = [int((values == 1 + index).sum()) for index in listed]
    assert counts == sorted(counts, reverse=True)
    assert f"{300 - len(listed)} more classes do not occur" in parsed.words
    assert (array_of(parsed.layers, "cells", "<u2") == values - 1).all()
    assert len(parsed.layers["legend"]) == 300
    assert "The 24 classes that occur most often; 276 others are left out" in parsed.words
    assert (tmp_path / "many.html").stat().st_size < 300_000


def test_a_map_of_one_pixel(rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path) -> None:
    assert rsmeta("report", pixel_map(make_scene, tmp_path)).status == 0
    parsed = Parsed(tmp_path / "pixel.html")
    assert "1 by 1 pixels" in parsed.words
    assert "100 m² mapped" in parsed.words
    assert array_of(parsed.layers, "cells").tolist() == [[0]]


def test_times_of_scene_and_map_are_not_mixed_up(
    rsmeta: Rsmeta, make_scene: MakeScene, tmp_path: Path
) -> None:
    path = pixel_map(make_scene, tmp_path)
    taken, made = "2026-07-01T10:00:31+00:00", "2026:11:28 01:40:00"
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME=made, ACQUISITIONDATETIME=taken)
    assert rsmeta("report", path).status == 0
    words = Parsed(path.with_suffix(".html")).words
    assert f"scene acquired {taken}" in words
    assert f"mapped on {made}" in words


def test_runs_of_other_tasks_show_their_own_scores(
    rsmeta: Rsmeta, biomass: Path, image_run: Path, tmp_path: Path
) -> None:
    for run, told, not_told in (
        (biomass, ("RMSE, test", "R²", "t/ha", "biomass in t/ha bands" , "standard deviation of",
                   "Validation error in t/ha"), ("Confusion", "mean IoU", "0 classes")),
        (image_run, ("mean class accuracy, test", "Confusion matrix", "images of the training"),
         ("mean IoU",)),
    ):  # fmt: skip
        ended = rsmeta("report", run / "run", "--output", tmp_path / f"{run.name}.html")
        assert ended.status == 0, ended.err
        words = Parsed(tmp_path / f"{run.name}.html").words
        words = words.split("Settings")[0]
        for one in told:
            assert one.replace(" bands", "") in words, one
        for one in not_told:
            assert one not in words, one
    metrics = json.loads((biomass / "run/metrics.json").read_text())
    assert f"{metrics['test']['rmse']:.4g} t/ha" in Parsed(tmp_path / f"{biomass.name}.html").words


def test_what_no_page_can_be_made_of(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, tmp_path: Path, make_scene: MakeScene
) -> None:
    assert "holds no bundle" in rsmeta("report", tiny_run.data).complaint
    assert "does not name its classes" in rsmeta("report", tiny_run.scene).complaint
    assert "one run folder, one map" in rsmeta("report", mapped, mapped).complaint
    other = make_scene(tmp_path / "c.tif", np.zeros((5, 5), np.float32))
    numbers, _ = numbers_map(make_scene, tmp_path)
    ended = rsmeta("report", numbers, "--reference", mapped)
    assert "--reference needs a class map" in ended.complaint
    ended = rsmeta("report", mapped, "--confidence", other, "--output", tmp_path / "p.html")
    assert "another grid" in ended.complaint
    assert not (tmp_path / "p.html").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("kind", ["map", "hostile", "numbers", "many", "pixel"])
def test_a_browser_draws_it_and_says_nothing(
    rsmeta: Rsmeta, tiny_run: TinyRun, mapped: Path, make_scene: MakeScene, tmp_path: Path,
    kind: str,
) -> None:  # fmt: skip
    page = tmp_path / "page.html"
    given = {
        "map": lambda: (mapped, "--scene", tiny_run.scene),
        "hostile": lambda: (hostile_map(make_scene, tmp_path),),
        "numbers": lambda: (numbers_map(make_scene, tmp_path)[0],),
        "many": lambda: (many_map(make_scene, tmp_path)[0],),
        "pixel": lambda: (pixel_map(make_scene, tmp_path),),
    }[kind]()
    assert rsmeta("report", *given, "--output", page).status == 0
    picture = tmp_path / "page.png"
    assert "CONSOLE" not in (said := browse(page, tmp_path, picture)), said
    with open_quietly(picture) as file:
        pixels = file.read([1, 2, 3]).reshape(3, -1).T
    # without imagery the map is drawn in its full colours
    for colour, least in {
        "map": [], "hostile": [((0xCC, 0x22, 0x00), 0.02), ((0x00, 0x33, 0xCC), 0.02)],
        "numbers": [((0x44, 0x01, 0x54), 1e-4)],  # viridis begins so
        "many": [((100042 >> 16, 100042 >> 8 & 255, 100042 & 255), 0.02)],
        "pixel": [((0xCC, 0x22, 0x00), 0.2)],
    }[kind]:  # fmt: skip
        assert (pixels == colour).all(axis=1).mean() > least
    urls = set(re.findall(r'"url":"([^"]+)"', (tmp_path / "net.json").read_text()))
    # the browser asks its maker for news now and then; the page itself asks nobody
    assert not {url for url in urls if "example" in url}


def browse(page: Path, folder: Path, picture: Path) -> str:
    """Photograph a page once it says that it is drawn; return what the browser logged.

    The browser is driven through its pipe: its own clock for pages may run out before a picture
    is decoded, however long that clock is set.
    """
    assert BROWSER is not None
    (takes, tell), (hear, gives) = os.pipe(), os.pipe()
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}",
        "--enable-logging=stderr", "--window-size=1200,900", "--remote-debugging-pipe",
    ]  # fmt: skip
    with (
        (folder / "browser.log").open("wb") as log,
        subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{takes} 4>&{gives}', "bash", *command],
            pass_fds=(takes, gives), stdout=log, stderr=log,
        ),
        os.fdopen(tell, "wb", 0) as out, os.fdopen(hear, "rb") as answers,
    ):  # fmt: skip
        os.close(takes)
        os.close(gives)
        left, ids = b"", itertools.count(1)

        def ask(method: str, session: str | None = None, **params: object) -> dict[str, Any]:
            nonlocal left
            wanted = next(ids)
            asked = {"id": wanted, "method": method, "params": params}
            asked |= {"sessionId": session} if session else {}
            out.write(json.dumps(asked).encode() + b"\0")
            while True:
                while b"\0" not in left:
                    got = answers.read1(2**16)
                    assert got, f"the browser ended at {method}"
                    left += got
                said, left = left.split(b"\0", 1)
                answer: dict[str, Any] = json.loads(said)
                if answer.get("id") == wanted:
                    assert "error" not in answer, answer
                    return answer["result"]  # type: ignore[no-any-return]

        target = ask("Target.createTarget", url="about:blank")["targetId"]
        tab = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        ask("Page.navigate", tab, url=page.as_uri())
        ready = "document.documentElement?.dataset.ready"
        for _ in range(600):
            if ask("Runtime.evaluate", tab, expression=ready)["result"].get("value") == "yes":
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"not drawn after a minute: {(folder / 'browser.log').read_text()}")
        shot = ask("Page.captureScreenshot", tab, format="png")["data"]
        picture.write_bytes(base64.b64decode(shot))
        ask("Browser.close")
    return (folder / "browser.log").read_text(errors="replace")
