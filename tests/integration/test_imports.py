"""What gets imported when: asked of a child interpreter, since this one has everything."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.code_measures import import_cycle, read_modules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.conftest import TinyRun

#: Slow to import; a command that only answers a question must not wait for them.
HEAVY = {"torch", "rasterio", "pydantic", "timm", "lightning", "torchgeo", "kornia", "geopandas"}

#: What only training needs.
TRAINING_ONLY = {"torchgeo", "lightning", "kornia", "torchmetrics", "tensorboard", "geopandas"}


#: What only arrays, clusters and outputs elsewhere need.
#: Not boto3, which rasterio imports wherever it is installed.
ELSEWHERE = {"xarray", "rioxarray", "dask", "distributed", "zarr", "h5netcdf"}


def modules_after(code: str, then: str = "") -> set[str]:
    """Run code in a new interpreter; return the names of what it imported, before ``then`` ran."""
    names = "\nimport json, sys\nprint('MODULES', json.dumps(sorted(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-c", code + names + then],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return set(json.loads(done.stdout.rsplit("MODULES ", 1)[1]))


def top_level(names: Iterable[str]) -> set[str]:
    """Return the packages that modules are of."""
    return {name.partition(".")[0] for name in names}


def imported(code: str) -> set[str]:
    """Run code in a new interpreter; return the packages that it imported."""
    return top_level(modules_after(code))


def command(*words: str) -> str:
    """Return code that runs the command line to its end."""
    return (
        "import sys\nfrom rsmeta_cli.main import main\n"
        f"sys.argv = {['rsmeta', *words]}\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code"
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


def test_mapping_and_a_dry_run_load_little(tiny_run: TinyRun, tmp_path: Path) -> None:
    """Start-up: what they need is timm and rasterio, and neither training nor a compiler."""
    trained = command("train", str(tiny_run.config), f"data.root={tiny_run.data}", "--dry-run")
    mapped = command("predict", str(tiny_run.scene), "--model", str(tiny_run.bundle),
                     "--output", str(tmp_path / "map.tif"))  # fmt: skip
    found = modules_after(f"{trained}\n{mapped}")
    assert {
        "timm.models.naflexvit",
        "torchvision.ops.roi_align",
        "rsmeta.inference.engine",
    } <= found
    unneeded = {"matplotlib", "pandas", "scipy", "sklearn", "xarray", "transformers", "pyogrio"}
    assert not top_level(found) & (TRAINING_ONLY | unneeded)
    assert not [name for name in found if name.startswith("torch._dynamo")]


@pytest.mark.slow
def test_torchs_compiler_works_for_what_was_imported_without_it() -> None:
    code = """
from rsmeta.late_compiler import postpone_compiler
postpone_compiler()
import timm, torch
from torchvision.ops import roi_align"""
    compiled = """
net = timm.create_model("naflexvit_base_patch16_gap", depth=1, embed_dim=16, num_heads=2)
assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
given = torch.rand(1, 3, 16, 16), torch.tensor([[0.0, 0, 0, 8, 8]]), 4
compiled = torch.compile(roi_align, backend="eager", fullgraph=True)
assert torch.equal(compiled(*given), roi_align(*given))
assert "torch._dynamo" in sys.modules
"""
    assert "torch._dynamo" not in modules_after(code, then=compiled)


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
