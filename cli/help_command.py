"""``rsmeta help``: of a command, of a section of a configuration, or of a key."""

from __future__ import annotations

import click

from rsmeta.errors import UnknownNameError
from rsmeta_cli.keys import CommandWithKeys

#: Words for every section, and for keys outside of sections.
_ALL, _TOP = "all", "top"


@click.command()
@click.argument("topics", nargs=-1, metavar="[COMMAND] [SECTION|KEY|all]")
@click.pass_context
def command(ctx: click.Context, topics: tuple[str, ...]) -> None:
    """Show the help of a command, or the keys of a section of a configuration.

    \b
        rsmeta help predict           a command
        rsmeta help data              keys of a section of train's configuration
        rsmeta help data.chip_px      a key, or the keys that begin so
        rsmeta help pretrain mask     a section of pretrain's configuration
        rsmeta help all               every key
    """  # noqa: D301 - click takes the character, not its name
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    if not topics:
        click.echo(group.get_help(ctx.find_root()))
        return
    name, words = "train", list(topics)
    if words[0] in group.list_commands(ctx):
        name, words = words[0], words[1:]
    found = group.get_command(ctx, name)
    assert found is not None
    if words and isinstance(found, CommandWithKeys):
        click.echo(_keys(found, words[0], group.list_commands(ctx)))
        return
    with click.Context(found, info_name=name, parent=ctx.find_root()) as inner:
        click.echo(found.get_help(inner))
    train = group.get_command(ctx, "train")
    if isinstance(train, CommandWithKeys) and name in train.sections():
        click.echo(f"\nKeys of the section {name} of a configuration: rsmeta help train {name}")


def _keys(found: CommandWithKeys, topic: str, commands: list[str]) -> str:
    """Return the help of the keys that a topic names.

    Raises:
        UnknownNameError: It names none.
    """
    sections = found.sections()
    picked = {
        name: [
            key for key in keys
            if topic in (_ALL, name.split(" ")[0] or _TOP) or topic == key.path
            or key.path.startswith(f"{topic}.")
        ]
        for name, keys in sections.items()
    }  # fmt: skip
    if not any(picked.values()) and "." in topic:  # the beginning of keys
        picked = {name: [key for key in keys if key.path.startswith(topic)]
                  for name, keys in sections.items()}  # fmt: skip
    if not any(picked.values()):
        paths = [key.path for keys in sections.values() for key in keys]
        known = [*dict.fromkeys(name.split(" ")[0] or _TOP for name in sections), _ALL]
        near = paths if "." in topic else [*known, *commands]
        raise UnknownNameError("topic", topic, near)
    formatter = click.HelpFormatter(width=100)
    for name, keys in picked.items():
        if keys:
            with formatter.section(f"{name or 'top level'} keys"):
                formatter.write_dl([(f"{key.path} [{key.default}]", key.help) for key in keys])
    return formatter.getvalue().rstrip()
