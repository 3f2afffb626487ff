"""Train one configuration over seeds and a grid, and compare the runs."""
