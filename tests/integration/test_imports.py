"""What gets imported when: asked of a child interpreter, since this one has everything."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.code_measures import import_cycle, read_modules

if TYPE_CHECKING:
    from tests.conftest import MakeScene

#: Slow to import; a command that only answers a question must not wait for them.
HEAVY = {"torch", "rasterio", "pydantic", "timm", "lightning", "torchgeo", "kornia", "geopandas"}

#: What only training needs.
TRAINING_ONLY = {"torchgeo", "lightning", "kornia", "torchmetrics", "tensorboard", "geopandas"}


#: What only arrays, clusters and outputs elsewhere need.
#: Not boto3, which rasterio imports wherever it is installed.
ELSEWHERE = {"xarray", "rioxarray", "dask", "distributed", "zarr", "h5netcdf"}


def imported(code: str) -> set[str]:
    """Run code in a new interpreter; return the top-level names of what it imported."""
    tail = (
        "\nimport json, sys\n"
        "print('MODULES', json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.rsplit("MODULES ", 1)[1]))


def command(*words: str) -> str:
    """Return code that runs the command line to its end."""
    return (
        "from rsmeta_cli.main import main\n"
        f"try:\n    main({list(words)})\nexcept SystemExit as ended:\n    assert not ended.code"
    )


@pytest.mark.parametrize(
    "code",
    ["import rsmeta", command("--help"), command("--version"), command("predict", "--help")],
    ids=["import", "help", "version", "help of predict"],
)
def test_light(code: str) -> None:
    assert not imported(code) & HEAVY


def test_help_of_train_and_list_load_settings_but_no_torch() -> None:
    kinds = ("sensors", "backbones", "tuners", "heads", "losses")
    asked = (("train", "--help"), *(("list", kind) for kind in kinds))
    found = imported("\n".join(command(*words) for words in asked))
    assert "pydantic" in found
    assert not found & (HEAVY - {"pydantic", "rasterio"})


def test_a_typo_is_said_before_torch_is_imported() -> None:
    code = (
        "from rsmeta_cli.main import main\n"
        "try:\n    main(['train', 'no_such_config.yaml', '--output', 'no_such_run'])\n"
        "except SystemExit as ended:\n    assert ended.code == 1"
    )
    assert "torch" not in imported(code)


def test_predict_loads_nothing_of_training() -> None:
    found = imported("import rsmeta.workflows.mapping.predict_scenes")
    assert "torch" in found
    assert not found & TRAINING_ONLY
    assert not found & ELSEWHERE


def test_mapping_and_a_dry_run_load_nothing_of_training_either(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    """Start-up: what they need is timm and rasterio, and little else."""
    draw = np.random.default_rng(0)
    make_scene(tmp_path / "s.tif", draw.integers(100, 900, (2, 64, 64)).astype(np.uint16),
               descriptions=("red", "nir"))  # fmt: skip
    make_scene(tmp_path / "l.tif", draw.integers(0, 2, (64, 64)).astype(np.uint8))
    config = {
        "data": {"root": str(tmp_path), "scenes": "s.tif", "labels": "l.tif", "chip_px": 32,
                 "classes": ["bare", "meadow"], "batch_size": 2},
        "model": {"backbone": "vit_tiny_patch16_224", "head": "linear",
                  "options": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1,
                              "num_heads": 2}},
        "tuner": {"method": "full"},
    }  # fmt: skip
    found = imported(
        "import rsmeta.workflows.mapping.predict_scenes\n"
        f"assert rsmeta.dry_run({config}).seconds is not None"
    )
    assert "timm" in found
    unneeded = {"matplotlib", "pandas", "scipy", "sklearn", "xarray", "transformers", "pyogrio"}
    assert not found & (TRAINING_ONLY | unneeded)


def test_names_of_the_package_arrive_when_used() -> None:
    found = imported(
        "import rsmeta\nassert callable(rsmeta.inspect)\nassert 'train' in dir(rsmeta)"
    )
    assert "torch" not in found


def test_no_module_imports_itself_through_others() -> None:
    modules = read_modules(Path(__file__).parents[2])
    assert len(modules) > 300
    assert import_cycle(modules) == []


@pytest.mark.parametrize(
    ("where", "is_cycle"),
    [
        ("import rsmeta.a", True),
        ("def f():\n    from rsmeta.a import x", True),
        ("from rsmeta import a", True),
        ("if TYPE_CHECKING:\n    from rsmeta.a import x", False),
    ],
)
def test_cycles_are_found_inside_functions_too(where: str, is_cycle: bool) -> None:
    modules = {"rsmeta": "", "rsmeta.a": "from rsmeta.b import y", "rsmeta.b": where}
    cycle = import_cycle({name: ast.parse(code) for name, code in modules.items()})
    assert bool(cycle) == is_cycle
