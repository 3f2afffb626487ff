"""The command line: options, echo and exit codes; the work is done in ``rsmeta.workflows``."""
