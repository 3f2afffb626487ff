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
    type=click.Choice(["merged", "peft"]),
    help="merged: a bundle that needs no other file; peft: LoRA as HF peft reads it.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def command(output: Path, model: Path, form: str, *, overwrite: bool) -> None:
    """Write a trained model to the folder OUT in another form.

    merged puts adapters into the weights, as far as they can be, and all weights into one bundle:
    rsmeta predict --model OUT needs no checkpoint. peft writes adapter_config.json and
    adapter_model.safetensors, which peft.PeftModel.from_pretrained loads onto the same timm model.
    """
    from rsmeta.workflows.export import export

    folder = export(model, output, form=form, overwrite=overwrite)
    size = sum(file.stat().st_size for file in folder.iterdir())
    click.echo(f"{folder}: {size / 1e6:.2f} MB")
