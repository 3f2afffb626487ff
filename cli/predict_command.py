"""``rsmeta predict``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rsmeta.errors import ScenesFailedError, counted
from rsmeta_cli.predict_progress import image_progress, map_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsmeta.workflows.mapping.predict_scenes import PredictResult
    from rsmeta.workflows.mapping.request import IfExists

_FILE = click.Path()  # as text: s3://… is no path


class _Mosaic(click.Choice[str]):
    """Rules of a mosaic, and the old name of one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        return super().convert("first" if value == "order" else value, param, ctx)


@click.command()
@click.argument("scenes", nargs=-1, required=True)
@click.option("--model", required=True, type=_FILE, help="Bundle, run, or hf:OWNER/NAME.")
@click.option("--output", required=True, type=_FILE, help="Map file; a folder for many scenes.")
# An option that is called like a field of rsmeta.Products is given to it.
@click.option("--probabilities", type=_FILE, help="Also write one band per class.")
@click.option("--confidence", type=_FILE, help="Also write the largest probability.")
@click.option("--entropy", type=_FILE, help="Also write the uncertainty: 0 certain, 1 undecided.")
@click.option(
    "--probabilities-type", type=click.Choice(["float32", "uint8"]), default="float32",
    show_default=True, help="Type of these three; uint8: steps of 0.004, a quarter of the size.",
)  # fmt: skip
@click.option("--vector", type=_FILE, help="Also write polygons: .gpkg, .parquet, .fgb, .geojson.")
@click.option("--quicklook", type=_FILE, help="Also draw the map: legend, scale bar, north arrow.")
@click.option("--stac", type=_FILE, help="Also write a STAC item of all outputs.")
@click.option("--summary", type=_FILE, help="Also write a summary of all scenes as JSON.")
@click.option("--sensor", metavar="NAME", help="Sensor of the scenes: see rsmeta list sensors.")
@click.option("--bounds", nargs=4, type=float, metavar="W S E N", help="Map this part; degrees.")
@click.option("--part", metavar="I/N", help="Map the I-th of N strips; a VRT joins their files.")
@click.option("--aoi", type=_FILE, help="Map inside these polygons only; any CRS.")
@click.option("--mask", type=_FILE, hidden=True)  # its old name
# Options that are called like a field of rsmeta.Postprocess are given to it.
@click.option(
    "--mosaic", type=_Mosaic(["first", "confidence", "mean"]),
    help="Make one map of all SCENES; where they overlap, take the first, the most confident or "
    "the mean.",
)  # fmt: skip
@click.option("--crs", metavar="EPSG:N", help="Project the map; classes by the nearest pixel.")
@click.option("--like", type=_FILE, help="Put the map on the grid of this raster.")
@click.option(
    "--majority", "majority_px", type=int, metavar="PX",
    help="Give each pixel the most frequent class of the PX by PX pixels around it.",
)  # fmt: skip
@click.option(
    "--sieve", "sieve_px", type=int, metavar="PX",
    help="Merge regions of fewer than PX pixels into their largest neighbour.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--optimize", type=click.IntRange(0, 1),
    help="Trade exactness for speed. 1: bfloat16 where the device supports it.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["torch", "onnx", "openvino"]),
    help="What runs the network on a CPU. openvino: faster for large scenes, not for small.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Compute in N processes, one per GPU.")
@click.option("--dask", metavar="ADDRESS", help="Compute on Dask workers: tcp://scheduler:port.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Override a predict setting of the bundle, e.g. batch_size=4; may be repeated.",
)  # fmt: skip
@click.pass_obj
def command(options: dict[str, Any], /, **given: Any) -> None:
    """Map SCENES (files, folders, patterns or @lists of them) with a trained model.

    The map lies exactly on the scene's grid: a cloud-optimised GeoTIFF of class values with
    colours and class names, and beside it its styles for QGIS (.qml) and map servers (.sld) and
    its attribute table (.aux.xml). It needs only the bundle and the scene. For many scenes, give
    folders instead of files.

    A model of whole images gives one value per cell, on a coarser grid (--set stride_px=N). With
    an --output that ends in .csv or .geojson, SCENES are images that are labelled one by one.
    """
    scenes, model = list(given.pop("scenes")), given.pop("model")
    mask = given.pop("mask")
    given["aoi"] = given["aoi"] or mask
    shorthand = {name: given.pop(name) for name in ("optimize", "engine", "sensor")}
    given["settings"] = (
        *given["settings"],
        *(f"{name}={value}" for name, value in shorthand.items() if value is not None),
    )
    if given["output"].lower().endswith((".csv", ".geojson")):
        _label_images(scenes, Path(model), given, quiet=options["quiet"])
        return
    options["resumable"] = True
    try:
        results = _map(scenes, model, given, quiet=options["quiet"])
    except ScenesFailedError as error:
        _show(error.results)
        raise
    _show(results)


def _map(
    scenes: list[str], model: str, given: dict[str, Any], *, quiet: bool
) -> list[PredictResult]:
    from rsmeta import AreaOfInterest, Execution, Postprocess, Products
    from rsmeta.workflows.mapping.predict_scenes import predict

    def collected(kind: Any) -> Any:
        """Return the value whose fields are options."""
        return kind(**{spec.name: given[spec.name] for spec in fields(kind) if spec.name in given})

    given["map"], given["polygons"] = given.pop("output"), given.pop("aoi")
    kept = [word for word in ("resume", "overwrite") if given[word]]
    with map_progress(quiet=quiet) as on_progress:
        return predict(
            scenes, model, output=collected(Products), aoi=collected(AreaOfInterest),
            postprocess=collected(Postprocess), execution=collected(Execution),
            if_exists=cast("IfExists", " or ".join(kept) or "error"), settings=given["settings"],
            on_progress=on_progress,
        )  # fmt: skip


def _label_images(images: list[str], model: Path, given: dict[str, Any], *, quiet: bool) -> None:
    """Label whole images instead of mapping scenes, as a table is asked for."""
    maps_only = ("resume", "bounds", "summary", "stac", "quicklook", "vector", "probabilities",
                 "confidence", "entropy", "workers", "dask", "aoi", "part", "mosaic", "crs", "like",
                 "majority_px", "sieve_px")  # fmt: skip
    asked = [f"--{name.removesuffix('_px')}" for name in maps_only if given.get(name)]
    if asked:
        raise click.UsageError(f"{asked[0]} applies to maps, not to a table of images")
    from rsmeta.workflows.mapping.predict_images import predict_images

    given["output"] = Path(given["output"])
    keys = ("output", "overwrite", "device", "settings")
    with image_progress(quiet=quiet) as on_progress:
        done = predict_images(
            images, model, **{key: given[key] for key in keys}, on_progress=on_progress
        )
    places = f", footprints in {done.footprints}" if done.footprints else ""
    click.echo(f"{done.table}: {len(done.rows)} images{places}")


def _show(results: Sequence[PredictResult]) -> None:
    for result in results:
        if result.status == "kept":
            click.echo(f"{result.outputs['map']}: was finished already")
            continue
        skipped = f", {counted(result.skipped, 'empty tile')} skipped" if result.skipped else ""
        summary = _summary(result)
        click.echo(f"{result.outputs['map']}: {summary} ({result.seconds:.1f} s{skipped})")


def _summary(result: PredictResult) -> str:
    numbers = result.statistics
    if numbers is None:
        total = max(sum(result.class_pixels.values()), 1)
        return ", ".join(f"{name} {n / total:.1%}" for name, n in result.class_pixels.items())
    if not numbers.count:
        return "no pixel with data"
    return f"{numbers.low:.4g} to {numbers.high:.4g}, mean {numbers.mean:.4g}"
