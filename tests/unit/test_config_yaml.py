"""YAML is read as its users mean it, and what cannot be meant is one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.config import load_settings
from rsmeta.config.load import read_tree
from rsmeta.config.yaml_files import parse_yaml, read_yaml
from rsmeta.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SMALLEST: dict[str, Any] = {"data": {"scenes": "a.tif", "labels": "b.tif", "classes": ["a", "b"]}}
TEXT = "data: {scenes: a.tif, labels: b.tif, classes: [a, b]}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data:\n  classes:\n    1: water\n    1: forest\n", "line 4: the key '1' appears twice"),
        (TEXT + "seed: 1\nseed: 2\n", r"line 3: the key 'seed' appears twice (first in line 2)"),
        (TEXT + "model: {head: fpn, head: linear}\n", "line 2: the key 'head' appears twice"),
        (TEXT + "seed:\n\t1\n", "found character '\\t'"),
        (TEXT + "---\n" + TEXT, "line 2: expected a single document"),
        ("[" * 2000, "nested too deeply"),
        ("a: &a [*a]\n", "an alias contains itself"),
        ("a: &a {b: *a}\n", "an alias contains itself"),
        ("a: &a {b: &b [*a, 1]}\n", "an alias contains itself"),
        (f"seed: {'9' * 5000}\n", "Exceeds the limit"),
        ("data: !!python/name:os.system\n", "could not determine a constructor"),
        ("data: @x\n", "found character '@'"),
        ("? [a]\n: b\n", "found unhashable key"),
        ("", "holds no settings"),
        ("- a\n- b\n", "holds no settings"),
        ("just text\n", "holds no settings"),
        (TEXT + "[a\n", "cannot read"),
    ],
)
def test_what_cannot_be_meant_is_one_line(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_cannot_multiply_beyond_reason() -> None:
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    with pytest.raises(ConfigError, match="repeat more than"):
        parse_yaml(text)


def test_anchors_and_merge_keys_work() -> None:
    tree = parse_yaml("a: &a {p: 1, q: 2}\nb: {<<: *a, p: 3}\nc: *a\n")
    assert tree == {"a": {"p": 1, "q": 2}, "b": {"p": 3, "q": 2}, "c": {"p": 1, "q": 2}}


@pytest.mark.parametrize(
    "name",
    ["no", "yes", "on", "off", "NO", "010", "007", "12:30", "2020-01-01", "2020-13-45", "1e3"],
)
def test_a_class_keeps_the_name_that_is_written(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"data: {{scenes: a.tif, labels: b.tif, classes: [{name}, other]}}\n")
    assert load_settings(file).data.classes[0].name == name
    assert load_settings(SMALLEST, [f"data.classes=[{name}, x]"]).data.classes[0].name == name


def test_words_for_truth_still_set_switches() -> None:
    for word, value in (("yes", True), ("no", False), ("on", True), ("off", False), ("true", True)):
        assert load_settings(SMALLEST, [f"trainer.compile={word}"]).trainer.compile is value


def test_byte_order_marks_and_utf_16_are_read(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file = tmp_path / f"{encoding}.yaml"
        file.write_text("name: Wälder\n", encoding=encoding)
        assert read_yaml(file) == {"name": "Wälder"}
    file.write_text("name: Wälder\n", encoding="latin-1")
    with pytest.raises(ConfigError, match="cannot read"):
        read_yaml(file)


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="the class 2 has no name"):
        load_settings(SMALLEST, ["data.classes={1: water, 2: }"])


@pytest.mark.parametrize(
    "override",
    ["trainer.optimizer.lr=.inf", "trainer.optimizer.lr=.nan", "tuner.scale=.nan",
     "tuner.scale=.inf",
     "data.scale=.nan", "data.offset=.inf", "loss.weight=.inf",
     "meta={strategy: first_order, lr: .inf}", "tuner.alpha=.inf",
     "predict.overlap=.nan", "trainer.max_minutes=.inf", "tuner.sites={'*.q': {alpha: .nan}}"],
)  # fmt: skip
def test_numbers_that_are_none_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="finite number"):
        load_settings(SMALLEST, [override])


def test_nodata_may_be_nan_and_infinite() -> None:
    assert math.isnan(load_settings(SMALLEST, ["data.nodata=.nan"]).data.nodata)
    assert load_settings(SMALLEST, ["data.nodata=-.inf"]).data.nodata == -math.inf


def test_home_and_variables_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCENES", "/data/scenes")
    monkeypatch.setenv("NAME", "vit")
    tree = {"data": {"scenes": ["~/a.tif", "${SCENES}/b.tif"], "labels": "~/l.tif",
                     "classes": ["a~", "$b"]},
            "model": {"checkpoint": "~/w/${NAME}.pth"}}  # fmt: skip
    loaded = load_settings(tree)
    assert [str(one) for one in loaded.data.scenes] == [f"{tmp_path}/a.tif", "/data/scenes/b.tif"]
    assert str(loaded.data.labels) == f"{tmp_path}/l.tif"
    assert loaded.model.checkpoint == f"{tmp_path}/w/vit.pth"
    assert [one.name for one in loaded.data.classes] == ["a~", "$b"]
    with pytest.raises(ConfigError, match="no variable NOT_THERE; set it"):
        load_settings(tree, ["data.root=${NOT_THERE}/x"])


def test_a_section_that_is_commented_out_says_nothing() -> None:
    assert load_settings({**SMALLEST, "trainer": None, "model": None}) == load_settings(SMALLEST)


def test_a_mapping_overrides_key_by_key() -> None:
    tree = {**SMALLEST, "trainer": {"max_epochs": 3, "optimizer": {"lr": 0.1, "warmup": 0.0}}}
    given = {"trainer": {"optimizer": {"lr": 0.2}}, "data.chip_px": 96, "tuner": {"rank": 3}}
    loaded = load_settings({**tree, "tuner": "lora"}, given)
    assert loaded.trainer.max_epochs == 3
    assert (loaded.trainer.optimizer.lr, loaded.trainer.optimizer.warmup) == (0.2, 0.0)
    assert (loaded.data.chip_px, loaded.tuner.options["rank"]) == (96, 3)
    assert read_tree(tree, {"seed": 4})["seed"] == 4
    with pytest.raises(ConfigError, match="did you mean 'chip_px'"):
        load_settings(tree, {"data": {"chip_pixels": 96}})


_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=12)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | _TEXT
    | st.floats(allow_nan=False)
    | st.from_regex(r"[-+]?[0-9]{1,3}[._:e]?[-+]?[0-9]{0,3}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(_PLAIN)
def test_what_rsmeta_writes_it_reads_back(value: Any) -> None:
    """Bundles and run folders are written by PyYAML, whose guesses are others."""
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0", b"SQLite format 3\0"])
def test_imagery_or_labels_are_no_configuration(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "scene.tif"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"scene\.tif is no configuration; give a YAML file"):
        read_yaml(file)
