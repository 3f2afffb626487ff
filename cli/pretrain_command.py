"""``rsmeta pretrain``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rsmeta_cli.keys import CommandWithKeys


class _PretrainCommand(CommandWithKeys):
    settings = ("rsmeta.config.pretrain", "PretrainSettings")


@click.command(cls=_PretrainCommand)
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Run folder.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder.")
@click.pass_obj
def command(
    options: dict[str, Any], config: Path, overrides: tuple[str, ...], output: Path, resume: bool
) -> None:
    """Pretrain a backbone on unlabelled scenes with SatMAE's grouped masked autoencoder.

    The run folder gets backbone.safetensors (for model.checkpoint), metrics.json, history.csv,
    config.yaml (fully resolved), plots/ with reconstructions, tensorboard/, and until the run has
    finished, checkpoints/ (the whole autoencoder).
    """
    from rsmeta.config.load import read_settings
    from rsmeta.config.pretrain import PretrainSettings

    # typos are reported before torch is imported
    settings = read_settings(PretrainSettings, config, overrides)
    from rsmeta import pretrain

    options["resumable"] = True
    result = pretrain(
        settings,
        output=output,
        resume=resume,
        progress=sys.stderr.isatty() and not options["quiet"],
    )
    metrics = result.metrics
    loss = "unknown" if metrics["train_loss"] is None else f"{metrics['train_loss']:.4g}"
    click.echo(f"{metrics['steps']} steps in {metrics['seconds'] / 60:.1f} min, loss {loss}")
    click.echo(f"picture   {output / 'plots' / 'reconstructions.png'}")
    click.echo(
        f"to use    model: {{backbone: {settings.model.backbone}, checkpoint: {result.backbone}}}"
    )
