"""YAML, presets and overrides become settings, or one sentence that says what is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rsmeta.config import Settings, dump_settings, load_settings
from rsmeta.config.colours import FIRST_COLOURS
from rsmeta.config.describe import describe_keys, json_schema
from rsmeta.config.load import (
    PRESET_SECTIONS,
    preset_comment,
    preset_names,
)
from rsmeta.config.pretrain import PretrainSettings
from rsmeta.config.resources import config_dir
from rsmeta.errors import ConfigError, RsmetaError, UnknownNameError

DATA: dict[str, Any] = {"scenes": "a.tif", "labels": "b.tif", "classes": ["dry", "wet"]}
SMALLEST: dict[str, Any] = {"data": DATA}

EXPERIMENTS = sorted((config_dir() / "experiments").glob("*.yaml"))
PRESETS = [(section, name) for section in PRESET_SECTIONS for name in preset_names(section)]


def with_data(**keys: Any) -> dict[str, Any]:
    return {"data": DATA | keys}


# -- defaults, presets, overrides ------------------------------------------------------------


def test_smallest_configuration_has_every_default() -> None:
    loaded = load_settings(SMALLEST)
    assert loaded.seed == 0
    assert loaded.data.scenes == ("a.tif",)
    assert loaded.data.split.by is None
    assert loaded.tuner.method == "lora"
    assert loaded.model.backbone == loaded.model.head.name == "auto"
    assert [spec.value for spec in loaded.data.classes] == [0, 1]
    assert [spec.colour for spec in loaded.data.classes] == list(FIRST_COLOURS[:2])


def test_file_and_mapping_load_alike(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(SMALLEST))
    assert load_settings(file) == load_settings(str(file)) == load_settings(SMALLEST)


def test_the_mapping_given_is_not_changed() -> None:
    before = json.dumps(SMALLEST)
    load_settings(SMALLEST, ["data.chip_px=32", "model=vit_nano", "model.options.depth=3"])
    assert json.dumps(SMALLEST) == before


@pytest.mark.parametrize(
    "classes",
    [
        {3: "dry", 5: "wet"},
        {3: {"name": "dry"}, 5: {"name": "wet"}},
        [{"name": "dry", "value": 3}, {"name": "wet", "value": 5}],
    ],
)
def test_classes_in_every_form(classes: Any) -> None:
    loaded = load_settings(with_data(classes=classes))
    assert [(spec.name, spec.value) for spec in loaded.data.classes] == [("dry", 3), ("wet", 5)]


def test_preset_by_name_and_with_keys_of_its_own() -> None:
    plain = load_settings({**SMALLEST, "model": "vit_nano"}).model
    assert plain.options["depth"] == 6
    own = {"preset": "vit_nano", "options": {"depth": 2}, "head": "linear"}
    changed = load_settings({**SMALLEST, "model": own}).model
    assert changed.options == {**plain.options, "depth": 2}
    assert changed.head.name == "linear"
    assert changed.backbone == plain.backbone


def test_overrides_are_yaml_by_dotted_path() -> None:
    loaded = load_settings(
        SMALLEST,
        [
            "seed=7", "data.chip_px=96", "data.scenes=[x.tif, y.tif]", "data.split.test=0.1",
            "data.nodata=255", "trainer.optimizer={lr: 0.1}", "tuner.blocks=0-3",
            "trainer.early_stopping=null", "data.augment.flip=false", "data.class_column=a=b",
        ],
    )  # fmt: skip
    assert loaded.seed == 7
    assert loaded.data.chip_px == 96
    assert loaded.data.scenes == ("x.tif", "y.tif")
    assert loaded.data.split.test == 0.1
    assert loaded.data.nodata == 255.0
    assert loaded.data.augment.flip is False
    assert loaded.data.class_column == "a=b"
    assert loaded.trainer.optimizer.lr == 0.1
    assert loaded.tuner.blocks == ("0-3",)


def test_patterns_need_no_quotes_in_an_override() -> None:
    loaded = load_settings(SMALLEST, ["data.scenes=*.tif", "data.labels={stem}_l.tif"])
    assert loaded.data.scenes == ("*.tif",)
    assert loaded.data.labels == "{stem}_l.tif"


def test_override_of_a_presets_key_keeps_the_preset() -> None:
    for model in ("vit_nano", {"preset": "vit_nano"}):
        loaded = load_settings({**SMALLEST, "model": model}, ["model.options.depth=3"]).model
        assert loaded.options["depth"] == 3
        assert loaded.options["patch_size"] == 8
    assert load_settings(SMALLEST, ["model=vit_nano"]).model.options["depth"] == 6
    assert load_settings(SMALLEST, ["model.preset=vit_nano"]).model.options["depth"] == 6


# -- what is wrong, in a sentence --------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({**SMALLEST, "trianer": {}}, "unknown key 'trianer'; did you mean 'trainer'?"),
        ({**SMALLEST, "zzz": 1}, "unknown key 'zzz'; known here: data, loss, meta, model, "),
        (with_data(chip_pix=3), "unknown key 'data.chip_pix'; did you mean 'chip_px'?"),
        (with_data(split={"by_": 1}), "unknown key 'data.split.by_'; did you mean 'by'?"),
        ({**SMALLEST, "model": {"preset": "vit_nano", "heads": 1}},
         "unknown key 'model.heads'; did you mean 'head'?"),
        ({**SMALLEST, "trainer": {"optimizer": {"rl": 1}}},
         "unknown key 'trainer.optimizer.rl'; did you mean 'lr'?"),
        ({}, "the key 'data' is missing"),
        ({"data": {"scenes": "a.tif"}}, "the key 'data.labels' is missing"),
        (with_data(chip_px="wide"), "data.chip_px='wide': input should be a valid integer"),
        (with_data(chip_px=3), "data.chip_px=3: input should be greater than or equal to 16"),
        (with_data(classes=["dry"]), "data.classes: names 1 class(es); give two or more"),
        (with_data(classes=["dry", "dry"]), "two classes share the name 'dry'"),
        (with_data(classes={1: "a", 70000: "b"}), "70000"),
        (with_data(classes={1: {"name": "a", "colour": "red"}, 2: "b"}), "'red' is no colour"),
        (with_data(ignore=1), "value 1 is both a class and ignored"),
        (with_data(split={"by": "blocks", "test": "t.gpkg"}), "does not fit by=blocks"),
        (with_data(split={"validation": 0.2, "test": "t.gpkg"}), "give files or shares"),
        (with_data(split={"validation": 1.5}), "must be at least 0 and below 1"),
        ({**SMALLEST, "tuner": {"blocks": "5-2"}}, "'5-2' is no ascending range"),
        ({**SMALLEST, "tuner": {"positions": "w"}}, "tuner.positions.0='w'"),
        ({**SMALLEST, "model": {"checkpoint": "x", "pretrained": True}}, "exclude each other"),
        ({"data": 3}, "data: 3 is no section; write scenes, labels"),
    ],
)  # fmt: skip
def test_one_sentence_for_each_mistake(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(tree)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the configuration: ")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed", "'seed' is no override; write KEY=VALUE"),
        ("=3", "is no override"),
        ("data.scenes=[a.tif", "the value is no YAML"),
        ("data.chip=3", "unknown key 'data.chip'; did you mean 'chip_px'?"),
    ],
)
def test_override_that_cannot_be_used(override: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(SMALLEST, [override])
    assert told in str(caught.value)


def test_unknown_preset_suggests_the_nearest() -> None:
    for model in ("vit_nanoo", {"preset": "vit_nanoo"}):
        with pytest.raises(UnknownNameError, match="did you mean 'vit_nano'"):
            load_settings({**SMALLEST, "model": model})
    with pytest.raises(UnknownNameError, match="unknown model preset"):
        load_settings({**SMALLEST, "model": "../sensors/rgb"})


@pytest.mark.parametrize("text", ["data: [1", "- 1\n- 2\n", "", "just words", "\x00"])
def test_file_that_holds_no_settings(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)):
        load_settings(file)
    with pytest.raises(ConfigError, match="check the path"):
        load_settings(tmp_path / "none.yaml")


def test_yaml_cannot_name_code(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data: !!python/object/apply:os.system [true]\n")
    with pytest.raises(ConfigError, match="as YAML"):
        load_settings(file)


# -- settings as values ------------------------------------------------------------------------


def test_settings_are_frozen() -> None:
    loaded = load_settings(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        loaded.data.chip_px = 3  # type: ignore[misc]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    chip_px=st.integers(16, 512),
    names=st.lists(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8),
        min_size=2,
        max_size=5,
        unique=True,
    ),
    lr=st.floats(1e-6, 1),
    split=st.sampled_from(["blocks", "files", {"by": "blocks", "test": 0.25}]),
    nodata=st.none() | st.floats(-1e4, 1e4),
    blocks=st.none() | st.lists(st.integers(0, 11) | st.just("2-5"), max_size=3),
)
def test_dumped_settings_load_back_equal(
    tmp_path_factory: pytest.TempPathFactory, **drawn: Any
) -> None:
    loaded = load_settings(
        {
            "seed": drawn["seed"],
            "data": DATA | {
                "classes": drawn["names"], "chip_px": drawn["chip_px"], "split": drawn["split"],
                "nodata": drawn["nodata"],
            },
            "model": {"preset": "vit_nano", "head": {"name": "fpn", "dim": 64}},
            "tuner": {"blocks": drawn["blocks"]},
            "trainer": {"optimizer": {"lr": drawn["lr"]}},
        }
    )  # fmt: skip
    file = tmp_path_factory.mktemp("dumped") / "c.yaml"
    file.write_text(dump_settings(loaded), encoding="utf-8")
    assert load_settings(file) == loaded


# -- what ships --------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "name"), PRESETS)
def test_every_preset_loads(section: str, name: str) -> None:
    by_name = load_settings({**SMALLEST, section: name})
    assert by_name == load_settings({**SMALLEST, section: {"preset": name}})
    assert preset_comment(section, name), "its first line is a comment that says what it is for"


def test_there_are_presets() -> None:
    assert {section for section, _ in PRESETS} >= {"meta", "model", "tuner"}


def test_scales_are_stepped_after_warm_up_and_every_so_often() -> None:
    meta = load_settings({**SMALLEST, "meta": {"every_n_steps": 3, "warmup_steps": 2}}).meta
    assert [step for step in range(12) if meta.due(step)] == [5, 8, 11]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_is_short(path: Path) -> None:
    loaded = load_settings(path, ["data.root=somewhere"])
    assert len(loaded.data.classes) >= 2
    assert not Path(getattr(loaded.data, "labels", "")).is_absolute()
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert lines[0].startswith("#"), "a comment says what it is"
    comment = " ".join(line for line in lines if line.startswith("#"))
    assert "Data:" in comment, "a comment says where the data come from"
    assert len([line for line in lines if not line.lstrip().startswith("#")]) <= 10


@pytest.mark.parametrize(
    "path", sorted((config_dir() / "pretrain").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_recipe_of_shipped_weights_loads(path: Path) -> None:
    loaded = load_settings(path, ["data.root=somewhere"])
    assert loaded.model.checkpoint is None, "they start from random weights"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("#"), "a comment says what it is"
    assert "--licence" in text, "weights that ship say under which licence"


@pytest.mark.parametrize("model", [Settings, PretrainSettings])
def test_every_key_of_every_command_has_a_line_of_help(model: Any) -> None:
    for _, keys in describe_keys(model):
        for key in keys:
            assert key.help, key.path


def test_there_are_experiments() -> None:
    assert {path.stem for path in EXPERIMENTS} >= {"beaufort", "cloudmask", "demo", "slovenia"}


def test_every_key_has_a_line_of_help() -> None:
    keys = [key for _, keys in describe_keys() for key in keys]
    assert len(keys) > 50
    for section, of_section in describe_keys():
        assert len({key.path for key in of_section}) == len(of_section), section
    for key in keys:
        assert key.help, key.path
        assert "\n" not in key.help
        assert not key.help.endswith("."), key.path
    shown = {key.path: key.default for name, part in describe_keys() for key in part
             if "(" not in name}  # fmt: skip
    assert shown["data.scenes"] == "required"
    assert shown["data.chip_px"] == "64"
    assert shown["data.nodata"] == "none"
    assert shown["tuner.rank"] == "8"


# -- the schema for editors --------------------------------------------------------------------


def test_schema_file_is_up_to_date() -> None:
    """Write it anew: python -c "from rsmeta.config.describe import …" as the message says."""
    file = config_dir() / "schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(json_schema()), (
        "settings or presets changed; write configs/schema.json anew: python -c 'from "
        "rsmeta.config.describe import json_schema; print(json_schema(), end=str())' "
        "> configs/schema.json"
    )


def test_schema_takes_the_short_forms() -> None:
    schema = json.loads(json_schema())
    for section in PRESET_SECTIONS:
        forms = schema["properties"][section]["anyOf"]
        assert any(form.get("type") == "string" for form in forms), section
        references = [form["$ref"] for form in forms if "$ref" in form]
        assert references
        for reference in references:
            assert "preset" in schema["$defs"][reference.rsplit("/", 1)[-1]]["properties"]
    data = schema["$defs"]["DataSettings"]["properties"]
    assert {form["type"] for form in data["classes"]["anyOf"]} == {"array", "object"}
    assert {form.get("type") for form in data["ignore"]["anyOf"]} == {"array", "integer"}
    assert {form.get("type") for form in data["scenes"]["anyOf"]} == {"array", "string"}
    assert "string" in {form.get("type") for form in data["split"]["anyOf"]}
    assert schema["required"] == ["data"]


def test_schema_knows_every_key_and_no_other() -> None:
    schema = json.loads(json_schema())
    definitions = schema["$defs"]
    for section, keys in describe_keys():
        if not section or "(" in section:
            continue
        name = next(
            form["$ref"] for form in schema["properties"][section]["anyOf"] if "$ref" in form
        ).rsplit("/", 1)[-1]
        # which keys these take is up to the loss or the method that they name
        by_name = section in ("loss", "tuner", "meta")
        assert definitions[name]["additionalProperties"] is by_name
        named = {key.path.split(".")[1] for key in keys}
        by_preset = {"preset"} if section in PRESET_SECTIONS else set()
        assert set(definitions[name]["properties"]) == named | by_preset


def test_schema_and_weights_are_shipped() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    data = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert {"*.json", "weights/*.safetensors"} <= set(data["rsmeta.configs"])


def test_options_of_other_methods_that_older_files_hold_are_dropped() -> None:
    """Bundles and run folders were written with every method's options at their defaults."""
    old = {"method": "bias", "rank": 8, "alpha": 8.0, "out_reads": "input", "length": 10,
           "ratio": 0.05, "seed": 0, "sites": {"*.q": {"rank": None, "lr_scale": 2.0}}}  # fmt: skip
    new = {"method": "bias", "sites": {"*.q": {"lr_scale": 2.0}}}
    assert load_settings({**SMALLEST, "tuner": old}) == load_settings({**SMALLEST, "tuner": new})


def test_a_sweep_over_methods_may_set_an_option_that_some_lack() -> None:
    for method in ("head", "full", "partial"):
        loaded = load_settings({**SMALLEST, "tuner": {"method": method, "rank": 3}})
        assert loaded.tuner.options == {}


# -- a tuner of several methods ------------------------------------------------------------------


def test_methods_combine_by_preset_and_mapping() -> None:
    given = ["lora", {"preset": "ln", "lr_scale": 2}, {"method": "mask", "ratio": 0.1}]
    loaded = load_settings({**SMALLEST, "tuner": given})
    assert [spec.method for spec in loaded.tuner] == ["lora", "ln", "mask"]
    assert loaded.tuner[1].lr_scale == 2
    again = load_settings(yaml.safe_load(dump_settings(loaded)))
    assert again == loaded
    over = load_settings(SMALLEST, ["tuner=[lora, ln]"])
    assert [spec.method for spec in over.tuner] == ["lora", "ln"]


@pytest.mark.parametrize(
    ("tuner", "sentence"),
    [
        ([], "tuner="),
        (["lora", "lm"], "did you mean 'ln'"),
        (["lora", {"method": "ln", "positionz": "q"}], "'tuner.1.positionz'; did you mean"),
        ([{"rank": 0}], "tuner.0.rank=0"),
        ({"rank": 0}, "tuner.rank=0"),
        ({"ranks": 2}, "'tuner.ranks'; did you mean 'rank'"),
        ({"sites": {"q": {"rank": 2}}}, "'q' is no pattern of sites; write blocks.positions"),
        ({"sites": {"*.w": {"rank": 2}}}, "names the position 'w'"),
        ({"sites": {"*.q": {"rank": 0}}}, "tuner.sites.*.q.rank=0"),
        ({"sites": {"*.q": {"rnk": 2}}}, "'tuner.sites.*.q.rnk'; did you mean 'rank'"),
        ({"method": "bias", "length": 3}, "length=3 does not apply to method=bias"),
    ],
)
def test_a_wrong_tuner_is_said_by_its_key(tuner: object, sentence: str) -> None:
    with pytest.raises(RsmetaError) as caught:
        load_settings({**SMALLEST, "tuner": tuner})
    assert sentence in str(caught.value)


def test_an_override_into_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="reaches into the list tuner; give the whole list"):
        load_settings({**SMALLEST, "tuner": ["lora", "ln"]}, ["tuner.rank=4"])
