"""``rsmeta export``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--model", required=True, type=click.Path(path_type=Path), help="Bundle folder of a run."
)
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["merged", "peft", "onnx"]),
    help="merged: a bundle that needs no other file; peft: LoRA as HF peft reads it; onnx: a "
    "file for QGIS's plugin Deepness.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(output: Path, model: Path, form: str, *, overwrite: bool) -> None:
    """Write a trained model to OUT, a folder or an .onnx file, in another form.

    merged puts adapters into the weights, as far as they can be, and all weights into one bundle:
    rsmeta predict --model OUT needs no checkpoint. peft writes adapter_config.json and
    adapter_model.safetensors, which peft.PeftModel.from_pretrained loads onto the same timm model.
    onnx goes from standardised bands to class probabilities, in batches of any size; its metadata
    tell classes, resolution, tile, overlap and how raw numbers are standardised.
    """
    from rsmeta.workflows.export import export

    folder = export(model, output, form=form, overwrite=overwrite)
    files = folder.iterdir() if folder.is_dir() else [folder]
    size = sum(file.stat().st_size for file in files)
    click.echo(f"{folder}: {size / 1e6:.2f} MB")
