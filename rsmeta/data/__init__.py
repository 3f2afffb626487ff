"""Scenes and labels as TorchGeo datasets: chips, splits, samplers, loaders."""
