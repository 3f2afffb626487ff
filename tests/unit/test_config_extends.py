"""Configurations that extend others, and variables of the environment in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from rsmeta.config import load_settings
from rsmeta.config.describe import json_schema
from rsmeta.config.load import read_tree
from rsmeta.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, Any] = {
    "seed": 3,
    "data": {"scenes": ["a.tif"], "labels": "l.tif", "classes": ["a", "b"], "chip_px": 32},
    "model": "vit_nano",
    "trainer": {"max_epochs": 7, "optimizer": {"lr": 0.01}},
}


def write(folder: Path, **files: dict[str, Any]) -> Path:
    """Write configurations by name; return the last one."""
    for name, tree in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def test_keys_are_laid_over_those_of_the_base(tmp_path: Path) -> None:
    own = {
        "extends": "base.yaml", "data": {"chip_px": 48}, "model": {"head": "linear"},
        "trainer": {"optimizer": {"weight_decay": 0.5}},
    }  # fmt: skip
    settings = load_settings(write(tmp_path, base=BASE, own=own), ["trainer.max_epochs=9"])
    assert settings.seed == 3
    assert (settings.data.chip_px, settings.scenes.labels) == (48, "l.tif")
    assert settings.model.head.name == "linear"
    assert settings.model.backbone == load_settings(BASE).model.backbone
    assert settings.trainer.max_epochs == 9
    assert (settings.trainer.optimizer.lr, settings.trainer.optimizer.weight_decay) == (0.01, 0.5)


@pytest.mark.parametrize("given", ["pixels", {"preset": "pixels"}])
def test_a_preset_replaces_the_section_of_the_base(tmp_path: Path, given: Any) -> None:
    base = {**BASE, "model": {"backbone": "vit_tiny_patch16_224", "zoom": 2}}
    found = load_settings(write(tmp_path, base=base, own={"extends": "base.yaml", "model": given}))
    assert (found.model.backbone, found.model.zoom) == ("pixels", 1)


def test_bases_of_bases_and_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base is found from the file that names it; later ones count more."""
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", root=BASE, middle={"extends": "root.yaml", "seed": 5})
    fast = {"trainer": {"max_epochs": 1}, "seed": 8}
    monkeypatch.setenv("WHERE", str(tmp_path / "deep"))
    monkeypatch.setenv("HOME", str(tmp_path))
    own = {"extends": ["${WHERE}/middle.yaml", "~/fast.yaml"], "data": {"root": "~/x"}}
    settings = load_settings(write(tmp_path, fast=fast, own=own))
    assert (settings.seed, settings.trainer.max_epochs) == (8, 1)
    assert settings.data.root == tmp_path / "x"
    assert settings.trainer.optimizer.lr == 0.01


def test_a_mapping_extends_too(tmp_path: Path) -> None:
    base = write(tmp_path, base=BASE)
    assert load_settings({"extends": str(base), "seed": 1}).seed == 1
    assert "extends" not in read_tree({"extends": str(base)})


def test_a_section_that_is_empty_takes_the_defaults_again(tmp_path: Path) -> None:
    own = {"extends": "base.yaml", "trainer": None}
    found = load_settings(write(tmp_path, base=BASE, own=own))
    assert found.trainer == load_settings({**BASE, "trainer": {}}).trainer


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"extends": "none.yaml"}, "none.yaml; check the path"),
        ({"extends": 3}, "must name a file"),
        ({"extends": {}}, "must name a file"),
        ({"extends": "own.yaml"}, "extends itself"),
        ({"extends": "other.yaml"}, "extends itself"),
        ({"extends": "${NO_SUCH_VARIABLE}/x.yaml"}, "no variable NO_SUCH_VARIABLE"),
        ({"extend": "base.yaml"}, "unknown key 'extend'"),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, own: Any, said: str) -> None:
    config = write(tmp_path, base=BASE, other={"extends": "own.yaml"}, own={**BASE, **own})
    with pytest.raises(ConfigError, match=said.replace("$", r"\$")):
        load_settings(config)


def test_editors_know_the_key() -> None:
    assert "extends" in json.loads(json_schema())["properties"]
