"""Write the model card of a bundle: what it maps, from what, how well, under what licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rsmeta.bundle import BundleRecord

#: What the hub calls our scores.
_METRIC_TYPES = {"miou": "mean_iou", "macro_f1": "f1", "accuracy": "accuracy", "rmse": "rmse"}

_PIPELINES = {("segmentation", "pixel"): "image-segmentation",
              ("classification", "image"): "image-classification"}  # fmt: skip

#: Baselines as a reader calls them.
_BASELINES = {"forest": "random forest", "logistic": "logistic regression"}


def model_card(
    record: BundleRecord,
    repo: str,
    *,
    split: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> str:
    """Return the card of a model as Markdown, with the metadata that the hub reads.

    Args:
        record: What the bundle says of itself.
        repo: ``owner/name`` on the hub.
        split: The ``data.split`` section that the scores are of; none: unknown.
        licence: SPDX identifier for the model; none: that of its backbone.
    """
    card = [
        f"# {repo.partition('/')[2]}", _summary(record), "## Use", _use(record, repo),
        "## Input", _input(record), "## Output", _output(record), "## Accuracy",
        *_accuracy(record, split), "## Licence", _licence(record, licence),
    ]  # fmt: skip
    return f"---\n{_metadata(record, repo, licence)}\n---\n\n" + "\n\n".join(card) + "\n"


def _metadata(record: BundleRecord, repo: str, licence: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    named = licence or record.backbone.licence
    results = [
        EvalResult(
            task_type=_PIPELINES.get((record.task, record.per), record.task),
            dataset_type="custom", dataset_name=f"{part} part of its own labels",
            metric_type=_METRIC_TYPES[score], metric_name=score, metric_value=value,
        )
        for part, scores in _parts(record.training).items()
        for score, value in _numbers(scores).items() if score in _METRIC_TYPES
    ]  # fmt: skip
    data = ModelCardData(
        license=named.lower() if named else None, library_name="rsmeta",
        pipeline_tag=_PIPELINES.get((record.task, record.per)),
        tags=["remote-sensing", "earth-observation", record.task],
        model_name=repo.partition("/")[2] if results else None, eval_results=results or None,
    )  # fmt: skip
    return data.to_yaml()


def _summary(record: BundleRecord) -> str:
    what = record.target.name if record.target else f"{len(record.classes)} classes"
    each = "each pixel" if record.per == "pixel" else "whole images"
    return (
        f"A model of rsmeta: {record.task} of {each}, {what}. "
        f"Backbone `{record.backbone.name}`, tuner "
        f"`{', '.join(one.method for one in _tuners(record))}`, trained {record.created[:10]} with "
        f"rsmeta {record.rsmeta}."
    )


def _tuners(record: BundleRecord) -> Sequence[Any]:
    return record.tuner if isinstance(record.tuner, tuple | list) else (record.tuner,)


def _use(record: BundleRecord, repo: str) -> str:
    output = "MAP.tif" if record.per == "pixel" else "TABLE.csv"
    return f"```sh\nrsmeta predict SCENE.tif --model hf:{repo} --output {output}\n```"


def _input(record: BundleRecord) -> str:
    rows = [
        (band.name, band.common_name or "", _number(band.wavelength_nm, " nm"),
         _number(band.gsd_m, " m"))
        for band in record.bands
    ]  # fmt: skip
    facts = [f"Sensor: {_sensor(record)}."]
    if record.gsd_m is not None:
        low, high = record.gsd_m
        facts.append(
            f"Pixels of {low:g} m." if low == high else f"Pixels of {low:g} to {high:g} m."
        )
    return " ".join(facts) + "\n\n" + _table(("band", "colour", "wavelength", "pixel"), rows)


def _sensor(record: BundleRecord) -> str:
    sensor = record.read.sensor
    if sensor is None:
        return "recognised from the files"
    return sensor if isinstance(sensor, str) else str(sensor.get("name", "its own"))


def _output(record: BundleRecord) -> str:
    if record.target is not None:
        unit = f" in {record.target.unit}" if record.target.unit else ""
        return f"{record.target.name}{unit}; training labels {record.target.mean:.4g} ± " \
               f"{record.target.std:.4g}."  # fmt: skip
    counts = record.training.get("class_counts") or {}
    rows = [(spec.value, spec.name, counts.get(spec.name, "")) for spec in record.classes]
    return _table(("value", "class", "training labels"), rows)


def _accuracy(record: BundleRecord, split: Mapping[str, Any] | None) -> list[str]:
    parts = _parts(record.training)
    if not parts:
        return ["Not measured: no labels were kept for validation or test."]
    found = [
        "Scores hold for labels that the model was not trained on"
        + (f", held out by this split: {_words(split)}." if split else ".")
        + (" The weights were chosen by the validation part." if "validation" in parts else "")
    ]
    baselines = record.training.get("baseline") or {}
    for part, scores in parts.items():
        others = {_BASELINES.get(name, name): one[part]
                  for name, one in baselines.items() if part in one}  # fmt: skip
        rows = [
            (score, f"{value:.3f}",
             *(_number(other.get(score), form=".3f") for other in others.values()))
            for score, value in _numbers(scores).items()
        ]  # fmt: skip
        count = scores.get("pixels", scores.get("images"))
        found += [f"**{part}**" + (f" ({count:,} labels)" if count else ""),
                  _table(("score", "this model", *others), rows)]  # fmt: skip
    last = list(parts.values())[-1].get("classes")
    if isinstance(last, dict) and last:
        scores_of = [name for name in ("precision", "recall", "f1", "iou")
                     if name in next(iter(last.values()))]  # fmt: skip
        rows = [(name, *(_number(one.get(score), form=".3f") for score in scores_of))
                for name, one in last.items()]  # fmt: skip
        found.append(_table((f"class ({list(parts)[-1]})", *scores_of), rows))
    return found


def _licence(record: BundleRecord, licence: str | None) -> str:
    own = licence or "not stated by whoever trained them; that of the backbone applies to it"
    lines = [f"Trained weights: {own}."]
    if record.backbone.licence or record.backbone.sha256:
        source = f" ({record.backbone.checkpoint})" if record.backbone.checkpoint else ""
        lines.append(f"Backbone `{record.backbone.name}`{source}: "
                     f"{record.backbone.licence or 'unknown; ask its authors'}.")  # fmt: skip
    return " ".join(lines)


def _parts(training: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {part: training[part] for part in ("validation", "test") if training.get(part)}


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the overall scores, without counts."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _words(split: Mapping[str, Any]) -> str:
    return ", ".join(
        f"`{key}: {value}`" for key, value in split.items() if value not in (None, [], {}, "")
    )


def _number(value: float | None, unit: str = "", form: str = "g") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
