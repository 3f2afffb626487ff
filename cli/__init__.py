"""The command line: options, output and exit codes; ``rsmeta.workflows`` does the work."""

import sys

try:
    import rsmeta  # noqa: F401 - says where it runs
except ImportError as error:
    if error.name != "rsmeta":
        raise
    sys.exit(f"rsmeta: {error}")
