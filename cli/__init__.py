"""The command line: options, output and exit codes; ``rsmeta.workflows`` does the work."""
