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
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.pass_obj
def command(
    options: dict[str, Any], config: Path, overrides: tuple[str, ...], output: Path, resume: bool
) -> None:
    """Pretrain a backbone on unlabelled scenes: SatMAE's masked autoencoding in channel groups.

    Leaves in the run folder: backbone.safetensors (what model.checkpoint takes), checkpoints/
    (the whole autoencoder), metrics.json, history.csv, config.yaml (fully resolved), plots/
    with reconstructions, and tensorboard/.
    """
    from rsmeta.config.load import read_settings
    from rsmeta.config.pretrain import PretrainSettings

    # a typo is said before torch is imported
    settings = read_settings(PretrainSettings, config, overrides)
    from rsmeta.workflows.pretrain import pretrain

    result = pretrain(
        settings,
        output=output,
        resume=resume,
        progress=sys.stderr.isatty() and not options["quiet"],
    )
    told = result.metrics
    click.echo(f"{told['steps']} steps in {told['seconds'] / 60:.1f} min, loss {_shown(told)}")
    click.echo(f"look at   {output / 'plots' / 'reconstructions.png'}")
    click.echo(
        f"use it    model: {{backbone: {settings.model.backbone}, checkpoint: {result.backbone}}}"
    )


def _shown(told: dict[str, Any]) -> str:
    return "unknown" if told["train_loss"] is None else f"{told['train_loss']:.4g}"
