"""``rsmeta export``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--model", required=True, type=click.Path(path_type=Path), help="Bundle, run, or hf:OWNER/NAME."
)
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["merged", "peft", "onnx", "backbone"]),
    help="merged: a self-contained bundle; peft: LoRA files for HF peft; onnx: a file for the "
    "QGIS plugin Deepness; backbone: a weights file that other models can start from.",
)
@click.option("--licence", help="Licence of the exported weights, for --format backbone.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(output: Path, model: Path, form: str, *, licence: str | None, overwrite: bool) -> None:
    """Export a trained model to OUT: a folder, an .onnx or a .safetensors file.

    merged folds the adapters into the weights where possible and stores all weights in one bundle,
    so that rsmeta predict --model OUT needs no checkpoint. peft writes adapter_config.json and
    adapter_model.safetensors, which peft.PeftModel.from_pretrained loads onto the same timm model.
    onnx maps standardised bands to class probabilities, with any batch size; its metadata hold
    classes, resolution, tile size, overlap and the standardisation of raw values. backbone writes
    the backbone alone, adapters merged, in float16, with its bands, normalisation and licence, for
    model.checkpoint.
    """
    from rsmeta import export

    folder = export(model, output, form=form, overwrite=overwrite, licence=licence)
    files = folder.iterdir() if folder.is_dir() else [folder]
    size = sum(file.stat().st_size for file in files)
    click.echo(f"{folder}: {size / 1e6:.2f} MB")
