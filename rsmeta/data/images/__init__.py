"""Images with one label each: from folders, indexes, TorchGeo, labelled scenes, oriented boxes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsmeta.data.images.datamodule import ImageDataModule

__all__ = ["ImageDataModule"]


def __getattr__(name: str) -> Any:
    """Import the data module when it is asked for: resizing alone does not need TorchGeo."""
    if name == "ImageDataModule":
        from rsmeta.data.images.datamodule import ImageDataModule

        return ImageDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
