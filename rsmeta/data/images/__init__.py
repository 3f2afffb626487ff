"""Images with one label each: from folders, indexes, TorchGeo, labelled scenes, oriented boxes."""

from rsmeta.data.images.datamodule import ImageDataModule

__all__ = ["ImageDataModule"]
