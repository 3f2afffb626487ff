"""Guess a whole configuration from scenes and labels, and write it with what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsmeta.config import Settings, load_settings
from rsmeta.config.data import DataSettings
from rsmeta.config.load import validate
from rsmeta.config.yaml_files import parse_yaml
from rsmeta.errors import ConfigError, LabelsError
from rsmeta.geo.inputs import check_not_an_input
from rsmeta.geo.writer import check_output
from rsmeta.shown import Shown, View
from rsmeta.workflows.init.guess import Guess, LabelGuesses, section_lines, settings_of
from rsmeta.workflows.init.inputs import sort_inputs
from rsmeta.workflows.init.label_guesses import guess_labels
from rsmeta.workflows.init.reached import reached_by_labels
from rsmeta.workflows.init.scene_guesses import guess_scenes
from rsmeta.workflows.init.sizes import guess_chip, guess_split, pixels_of
from rsmeta.workflows.run_folder import write_text

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from rsmeta.config.data import ClassSpec
    from rsmeta.config.load import Overrides
    from rsmeta.data.splits import Part
    from rsmeta.workflows.init.inputs import Inputs

#: What is written after the ``data`` section.
_MODEL = (
    "# model: auto    # the default: several classifiers are compared on held-out polygons or",
    "#                # blocks, and the best is trained; see docs/train.md. At once: model: pixels",
)


@dataclass(frozen=True, repr=False)
class Draft(Shown):
    """A guessed configuration.

    Attributes:
        text: Its YAML text, with what was seen in comments.
        settings: The same, checked.
        scene: The first scene.
        output: Where it was written; none: nowhere.
    """

    text: str
    settings: Settings
    scene: str
    output: Path | None = None

    def view(self) -> View:
        """Return the configuration."""
        facts = {
            "scene": self.scene,
            "output": self.output,
            "classes": len(self.settings.scenes.classes),
        }
        return View(facts, text=self.text)


def init(
    *scenes: str | Path,
    labels: str | Path,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Draft:
    """Guess a configuration from scenes and labels, which must train as it is.

    Bands, scale, nodata, class column, classes, chip size and split are guessed; each is written
    with what it was concluded from.

    Args:
        scenes: Files, folders or patterns. Labels among them are left out.
        labels: Label raster, polygons or points; with ``{stem}``, a file per scene.
        output: Configuration file to write; none: nothing is written.
        overwrite: Replace an existing file.

    Raises:
        RsmetaError: A file cannot be read, labels and scenes do not overlap, or the configuration
            cannot be written.
    """
    if not scenes:
        raise LabelsError(
            "init needs scenes and labels, such as: rsmeta init scene.tif labels.gpkg; draw "
            "polygons of each class in a GIS, with a column of their class"
        )
    if output is not None:
        check_output(Path(output), overwrite=overwrite)
        check_not_an_input([Path(output)], [*map(str, scenes), str(labels)])
    draft = _draft(sort_inputs(scenes, labels))
    if output is None:
        return draft
    write_text(Path(output), draft.text)
    return Draft(draft.text, draft.settings, draft.scene, Path(output))


def init_overrides(overrides: Sequence[str]) -> tuple[Draft, list[str]]:
    """Guess a configuration from overrides that name scenes and labels; return the others.

    Args:
        overrides: ``KEY=VALUE`` strings with ``scenes`` and ``labels``.

    Raises:
        ConfigError: One of the two is missing.
    """
    keys = {"scenes", "labels", "data.scenes", "data.labels"}
    given = {text.partition("=")[0]: text.partition("=")[2] for text in overrides}
    named = {key.removeprefix("data."): value for key, value in given.items() if key in keys}
    for key in ("scenes", "labels"):
        if not named.get(key):
            raise ConfigError(
                f"without a configuration file, {key}=... is needed: give scenes=SCENE "
                f"labels=LABELS, or a file"
            )
    listed = parse_yaml(named["scenes"]) if named["scenes"].startswith("[") else named["scenes"]
    scenes = [str(one) for one in listed] if isinstance(listed, list) else [str(listed)]
    rest = [text for text in overrides if text.partition("=")[0] not in keys]
    return init(*scenes, labels=named["labels"]), rest


def with_overrides(draft: Draft, overrides: Overrides) -> Settings:
    """Return the settings of a guessed configuration with some keys set anew."""
    return load_settings(parse_yaml(draft.text), overrides)


def _draft(inputs: Inputs) -> Draft:
    inputs, found = reached_by_labels(inputs, guess_scenes(inputs.scenes))
    labels = guess_labels(inputs, found.scenes)
    places = inputs.guesses()
    scenes = Guess(
        "scenes", places[-1].value, "; ".join(filter(None, (found.about, places[-1].why)))
    )
    guesses = [
        *places[:-1], scenes, *found.guesses, inputs.labels_key(labels.about), *labels.guesses,
        guess_chip(found.scenes, labels),
    ]  # fmt: skip
    classes = [
        {"name": spec.name, "value": spec.value, "colour": spec.colour}
        for spec in _settled_classes(guesses, labels)
    ]
    data = {**settings_of(guesses), "classes": classes}
    split, parts = guess_split(data, found.scenes, labels)
    listed = _classes(classes, labels, pixels_of(parts))
    lines = [
        "# Guessed by rsmeta init from what the files hold; comments say what was seen. Check it.",
        "# All keys of a section: rsmeta help data (model, trainer, …)",
        *section_lines("data", [*guesses[:-1], listed, guesses[-1], split]),
        *_MODEL,
    ]
    text = "\n".join(lines) + "\n"
    return Draft(text, load_settings(parse_yaml(text)), str(inputs.scenes[0]))


def _settled_classes(guesses: Sequence[Guess], labels: LabelGuesses) -> Sequence[ClassSpec]:
    """Return the classes with their colours.

    Raises:
        ConfigError: A name or value cannot be that of a class.
    """
    given = {**settings_of(guesses), "classes": list(labels.classes)}
    return validate(DataSettings, given, str(given["labels"])).classes


def _classes(
    classes: Sequence[dict[str, Any]],
    labels: LabelGuesses,
    pixels: Mapping[Part, Counter[int]],
) -> Guess:
    """Return the classes with their counts."""
    rows = []
    for i, entry in enumerate(classes):
        total = sum(counts[i] for counts in pixels.values())
        seen = [f"{total:,} px"]
        if labels.polygons is not None:
            count = labels.polygons[entry["value"]]
            seen.insert(0, f"{count:,} {labels.drawn_as}{'s' if count > 1 else ''}")
        held_out = [
            f"{pixels[part][i]:,} {part}" for part in ("validation", "test") if pixels[part]
        ]
        seen += [] if pixels["train"][i] else ["none of them left to train on: CHECK"]
        rows.append((entry, ", ".join(seen) + (f" ({', '.join(held_out)})" if held_out else "")))
    return Guess("classes", why=labels.origin, rows=rows)
