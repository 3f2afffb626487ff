"""What is done to finished maps: mosaics, another grid, majority filter, sieve."""
