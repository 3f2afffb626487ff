"""torch's compiler is imported when it is used; asked of child interpreters with a small torch."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: What there is of torch: a compiler that says when it is imported, and a way to it.
TORCH = """
import importlib
from types import SimpleNamespace
def __getattr__(name):
    if name == "_dynamo":
        return importlib.import_module("torch._dynamo")
    raise AttributeError(name)
def _disable(fn=None, recursive=True, *, reason=None):
    import torch._dynamo
    return torch._dynamo.disable(fn, recursive, reason=reason)
compiler = SimpleNamespace(disable=_disable)
"""
#: As torch does it; not every version need have it.
LAZILY = """
def _disable_dynamo(fn, recursive):
    def call():
        import torch._dynamo
        return torch._dynamo.disable(fn, recursive)()
    return call
"""
COMPILER = """
print("imported")
from . import utils
from .utils import other
def disable(fn, recursive, *, reason=None):
    return lambda: (fn(), recursive, reason)
"""
UTILS = """
def is_compile_supported(device_type):
    return device_type == "cpu"
def other():
    return "other"
"""
DISABLED = "import torch\n@torch.compiler.disable\ndef use(): return 1"

#: What a file imports, and what is printed: "now" between its import and the call of ``use``.
FILES = {
    "one function": (
        "from torch._dynamo.utils import is_compile_supported\n"
        "def use(): return is_compile_supported('cpu'), is_compile_supported('mps')",
        ["now", "imported", "(True, False)"],
    ),
    "another": (
        "from torch._dynamo.utils import other as use",
        ["imported", "now", "other"],
    ),
    "both": (
        "from torch._dynamo.utils import is_compile_supported, other\n"
        "def use(): return is_compile_supported('cpu'), other()",
        ["imported", "now", "(True, 'other')"],
    ),
    "the module": (
        "import torch._dynamo.utils\ndef use(): return torch._dynamo.utils.other()",
        ["now", "imported", "other"],
    ),
    "nothing": ("def use(): return 2", ["now", "2", "imported"]),
    "a decorator": (DISABLED, ["now", "imported", "(1, True, None)"]),
}  # fmt: skip


def run(folder: Path, code: str, file: str, torch: str = TORCH + LAZILY) -> list[str]:
    """Run code where ``torchvision.ops.roi_align`` is ``file``; return the lines it prints."""
    files = {
        "torch/__init__.py": torch,
        "torch/_dynamo/__init__.py": COMPILER,
        "torch/_dynamo/utils.py": UTILS,
        "torchvision/__init__.py": "",
        "torchvision/ops/__init__.py": "",
        "torchvision/ops/roi_align.py": file,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    head = "import sys\nfrom rsmeta.late_compiler import postpone_compiler\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


USE = """
from torchvision.ops import roi_align
print("now")
print(roi_align.use())
assert roi_align.__loader__ is roi_align.__spec__.loader
assert "rsmeta" not in type(roi_align.__loader__).__module__
import torch, torch._dynamo.utils
for name in ("torch._dynamo", "torch._dynamo.utils"):
    assert sys.modules[name].__file__
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
"""


@pytest.mark.parametrize("kind", FILES)
def test_it_is_imported_on_use(kind: str, tmp_path: Path) -> None:
    file, expected = FILES[kind]
    assert run(tmp_path, "postpone_compiler()\n" * 2 + USE, file) == expected


@pytest.mark.parametrize("kind", FILES)
def test_results_are_those_without(kind: str, tmp_path: Path) -> None:
    file, expected = FILES[kind]
    assert sorted(run(tmp_path, USE, file)) == sorted(expected)


def test_a_torch_without_a_lazy_form_is_asked_at_once(tmp_path: Path) -> None:
    lines = run(tmp_path, "postpone_compiler()\n" + USE, DISABLED, torch=TORCH)
    assert lines == ["imported", "now", "(1, True, None)"]


def test_what_is_imported_already_stays(tmp_path: Path) -> None:
    file, _ = FILES["one function"]
    code = (
        "import torch._dynamo.utils as own\npostpone_compiler()\n"
        "from torchvision.ops import roi_align\n"
        "print(roi_align.is_compile_supported is own.is_compile_supported)"
    )
    assert run(tmp_path, code, file) == ["imported", "True"]


def test_an_import_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    code = """
postpone_compiler()
try:
    from torchvision.ops import roi_align
except ImportError as error:
    print(error)
print([name for name in sys.modules if "_dynamo" in name])
"""
    file = FILES["one function"][0] + "\nraise ImportError('no kernels')"
    assert run(tmp_path, code, file) == ["no kernels", "[]"]
