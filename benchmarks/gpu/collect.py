"""Collect the wheels that a machine with a GPU, and without a network, lacks to run rsmeta.

    python benchmarks/gpu/collect.py [--output build/gpu/wheels]        (or: make gpu)

``wheels.toml`` says what the machine has. Whatever else rsmeta's requirements lead to is downloaded
in the newest version that fits all of them, for that machine's Python, and packed more tightly
(LZMA, which pip reads as well). torch and CUDA's libraries are never among them: the machine must
have them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
#: glibc's minor versions that wheels are tagged with; pip takes tags literally.
GLIBC_MINORS = range(39, 16, -1)
#: Smaller wheels gain nothing worth the time by being packed again.
REPACK_BYTES = 2**20
#: Never collected: gigabytes, and the machine's own fit its driver.
NEVER = frozenset({"torch", "torchaudio", "torchvision", "triton"})
NEVER_BEGIN = ("nvidia-", "cuda-")


@dataclass(frozen=True)
class Target:
    """The machine without a network, as ``wheels.toml`` describes it.

    Attributes:
        python: Its Python, ``3.12`` say.
        present: Version by name of what it has; empty: unknown, taken to fit.
        left_out: Reason by name of what is declared somewhere and not needed.
        prefer: Version by name, where it is not the newest.
        limit_mib: The most that all wheels together may take.
        extras: rsmeta's extras to provide.
    """

    python: str
    present: dict[str, str]
    left_out: dict[str, str]
    prefer: dict[str, str]
    limit_mib: float
    extras: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Target:
        """Read the description."""
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = {
            key: {canonicalize_name(name): value for name, value in tree[key].items()}
            for key in ("present", "left_out", "prefer")
        }
        return cls(
            python=tree["python"], limit_mib=tree["limit_mib"], extras=tuple(tree["extras"]),
            **tables,
        )  # fmt: skip

    def environment(self, extra: str) -> dict[str, str]:
        """Return what a requirement's marker is evaluated in."""
        return {
            "python_version": self.python, "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython", "platform_python_implementation": "CPython",
            "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
            "platform_machine": "x86_64", "extra": extra,
        }  # fmt: skip

    def active(self, lines: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
        """Yield those of some requirements that hold on the machine."""
        for line in lines:
            one = Requirement(line)
            if one.marker is None or any(
                one.marker.evaluate(self.environment(extra)) for extra in ("", *extras)
            ):
                yield one

    def has(self, one: Requirement) -> bool:
        """Return whether the machine has what is required, as far as is known."""
        version = self.present.get(canonicalize_name(one.name))
        return version is not None and (
            not version or one.specifier.contains(version, prereleases=True)
        )


@dataclass
class Wheels:
    """Wheels under way: what has been asked of each package, and what was found.

    Attributes:
        folder: Where they are downloaded.
        files: By name.
        asked: Everything that requirements say of a package's version.
        extras: Extras of a package that somebody asked for.
    """

    target: Target
    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    asked: dict[str, SpecifierSet] = field(default_factory=lambda: defaultdict(SpecifierSet))
    extras: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def follow(self, requirements: Iterable[Requirement]) -> None:
        """Download what requirements lead to, breadth first."""
        waiting = list(requirements)
        while waiting:
            one = waiting.pop(0)
            name = canonicalize_name(one.name)
            if name in self.target.left_out or self.target.has(one):
                continue
            if name in NEVER or name.startswith(NEVER_BEGIN):
                continue  # reported by ``check``
            new_extras = one.extras - self.extras[name]
            self.asked[name] &= one.specifier
            self.extras[name] |= one.extras
            if name in self.files and not new_extras and self._fits(name):
                continue
            if name not in self.files or not self._fits(name):
                self.files[name] = self._download(name)
            waiting += self.target.active(requires_of(self.files[name]), self.extras[name])

    def check(self, requirements: Iterable[Requirement]) -> list[str]:
        """Return what is missing, from the files alone: of rsmeta, then of each wheel."""
        missing = []
        asked = [("rsmeta", one) for one in requirements]
        for name, path in self.files.items():
            lines = self.target.active(requires_of(path), self.extras[name])
            asked += [(name, one) for one in lines]
        for by, one in asked:
            name = canonicalize_name(one.name)
            found = name in self.files and one.specifier.contains(
                version_of(self.files[name]), prereleases=True
            )
            if not (found or name in self.target.left_out or self.target.has(one)):
                missing.append(f"{by} needs {one}")
        return missing

    def _fits(self, name: str) -> bool:
        return self.asked[name].contains(version_of(self.files[name]), prereleases=True)

    def _download(self, name: str) -> Path:
        version = self.target.prefer.get(name)
        asked = f"=={version}" if version else str(self.asked[name])
        tags = [f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS]
        tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary=:all:", "--implementation", "cp",
            "--python-version", self.target.python, "--dest", str(self.folder),
            *(part for tag in tags for part in ("--platform", tag)), f"{name}{asked}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"cannot download {name}{asked}:\n{done.stderr[-2000:]}")
        for path in self.folder.glob("*.whl"):
            fits = not version or str(version_of(path)) == version
            if name_of(path) == name and fits and self.asked[name].contains(version_of(path), True):
                return path
        raise SystemExit(f"pip downloaded no wheel of {name}{asked}")


def name_of(wheel: Path) -> str:
    """Return the canonical name of a wheel's package."""
    return parse_wheel_filename(wheel.name)[0]


def version_of(wheel: Path) -> Any:
    """Return a wheel's version."""
    return parse_wheel_filename(wheel.name)[1]


def requires_of(wheel: Path) -> list[str]:
    """Return the requirements that a wheel declares, as they are written."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    return metadata.get_all("Requires-Dist") or []


def requires_of_rsmeta(target: Target) -> list[Requirement]:
    """Return rsmeta's own requirements, those of the extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in target.extras:
        lines += project["optional-dependencies"][extra]
    return list(target.active(lines, ()))


def repacked(wheel: Path, folder: Path) -> Path:
    """Copy a wheel into a folder, large ones compressed with LZMA; a copy that is there serves."""
    place = folder / wheel.name
    if place.is_file():
        return place
    partial = place.with_suffix(".partial")
    if wheel.stat().st_size < REPACK_BYTES:
        shutil.copyfile(wheel, partial)
    else:
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(partial, "w") as new:
            for entry in old.infolist():
                copy = zipfile.ZipInfo(entry.filename, entry.date_time)
                copy.external_attr = entry.external_attr
                copy.compress_type = zipfile.ZIP_LZMA
                new.writestr(copy, old.read(entry))
    partial.replace(place)
    return place


def main() -> None:
    """Collect, check and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu" / "wheels")
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("wheels.toml"))
    given = parser.parse_args()
    target = Target.read(given.target)
    required = requires_of_rsmeta(target)
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels = Wheels(target, Path(folder))
        wheels.follow(required)
        if missing := wheels.check(required):
            raise SystemExit("not collected:\n" + "\n".join(missing))
        kept = [repacked(path, given.output) for path in wheels.files.values()]
    for path in set(given.output.iterdir()) - set(kept):  # one version of each
        path.unlink()
    total = 0
    for path in sorted(kept, key=lambda one: -one.stat().st_size):
        total += path.stat().st_size
        print(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.name}")
    print(f"{total / 2**20:6.1f} MiB  {len(kept)} wheels in {given.output}")
    for name, reason in target.left_out.items():
        print(f"left out: {name} ({reason})")
    if total > target.limit_mib * 2**20:
        raise SystemExit(f"more than limit_mib={target.limit_mib} of {given.target.name}")


if __name__ == "__main__":
    main()
