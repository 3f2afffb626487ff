"""Bundles by name: a run, the hub's hf:owner/name; and how they get there, with a model card."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import rasterio
import yaml

from rsmeta.bundle import load_bundle
from rsmeta.errors import BundleError
from tests.integration.hub_server import hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Rsmeta, TinyRun
    from tests.integration.hub_server import Repositories


@pytest.fixture
def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Repositories, list[str]]]:
    """A hub on this machine, with an empty cache and a token."""
    with hub() as (address, repositories, asked):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template,
                            raising=False)  # fmt: skip
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield repositories, asked


def test_a_pushed_bundle_is_a_model_wherever_one_is_meant(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, served: tuple[Repositories, list[str]]
) -> None:
    repositories, asked = served
    pushed = rsmeta("push", tiny_run.folder, "hf:me/meadows", "--licence", "CC-BY-4.0")
    assert pushed.status == 0, pushed.err
    assert "--model hf:me/meadows" in pushed.out
    files = repositories["me/meadows"]
    assert {"README.md", "bundle.yaml", "weights.safetensors", "mlm.json"} <= files.keys()
    assert files["weights.safetensors"] == (tiny_run.bundle / "weights.safetensors").read_bytes()

    maps = {}
    for model in ("hf:me/meadows", tiny_run.folder, tiny_run.bundle):
        output = tmp_path / f"{len(maps)}.tif"
        ended = rsmeta("predict", tiny_run.scene, "--model", model, "--output", output)
        assert ended.status == 0, ended.err
        with rasterio.open(output) as file:
            maps[str(model)] = file.read().tobytes()
    assert len(set(maps.values())) == 1
    count = len(asked)
    shown = rsmeta("inspect", "hf:me/meadows", "--json")
    assert json.loads(shown.out)["kind"] == "bundle"
    data = (tiny_run.config, f"data.root={tiny_run.data}")
    assert rsmeta("evaluate", "--model", "hf:me/meadows", *data).status == 0
    export = ("export", "--model", "hf:me/meadows", "--format", "merged", tmp_path / "whole")
    assert rsmeta(*export).status == 0
    started = rsmeta("train", *data, "model.checkpoint=hf:me/meadows", "model.options={}",
                     "--dry-run")  # fmt: skip
    assert started.status == 0, started.err
    assert len(asked) == count, "all from the cache"


def test_a_model_card_says_what_the_bundle_knows(rsmeta: Rsmeta, tiny_run: TinyRun) -> None:
    ended = rsmeta("push", tiny_run.bundle, "hf:me/meadows", "--dry-run", "--licence", "MIT")
    assert ended.status == 0, ended.err
    _, head, text = ended.out.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "mit"
    assert yaml.safe_load(head)["library_name"] == "rsmeta"
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text())
    for part in ("validation", "test"):
        assert f"| macro_f1 | {metrics[part]['macro_f1']:.3f} |" in text
    for words in ("bare", "meadow", "green", "nir", "random forest", "test: 0.2", "MIT"):
        assert words in text, words


def test_what_cannot_be_pushed_or_found_is_one_line(
    rsmeta: Rsmeta, tiny_run: TinyRun, tmp_path: Path, served: tuple[Repositories, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    repositories, _ = served
    for target in ("me/meadows", "hf:meadows", "hf:me/meadows@v1", "hf:me/meadows/x.bin"):
        assert "write hf:owner/name" in rsmeta("push", tiny_run.folder, target).complaint
    assert "no bundle at" in rsmeta("push", tmp_path, "hf:me/meadows").complaint
    needy = shutil.copytree(tiny_run.bundle, tmp_path / "needy")
    record = yaml.safe_load((needy / "bundle.yaml").read_text())
    record["model"]["checkpoint"] = "nowhere.pth"
    (needy / "bundle.yaml").write_text(yaml.safe_dump(record))
    assert "needs the backbone weights nowhere.pth" in rsmeta("push", needy, "hf:me/x").complaint
    assert not repositories, "nothing was made"

    repositories["me/weights"] = {"model.safetensors": b""}
    for name in ("hf:me/weights", "hf:me/absent"):
        with pytest.raises(BundleError, match=r"bundle\.yaml"):
            load_bundle(name)
    with pytest.raises(BundleError, match="write hf:owner/name"):
        load_bundle("hf:me/weights/model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "hf auth login" in rsmeta("push", tiny_run.folder, "hf:me/meadows").complaint
