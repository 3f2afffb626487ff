"""``rsmeta.predict``: files to files, or an array to an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from rsmeta.workflows.mapping.predict_scenes import predict as predict_files

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from rsmeta.bundle import ModelBundle
    from rsmeta.config.load import Overrides
    from rsmeta.gis.outputs.products import Products
    from rsmeta.gis.postprocess.postprocess import Postprocess
    from rsmeta.workflows.mapping.executors import Execution
    from rsmeta.workflows.mapping.predict_scenes import PredictResult, Progress
    from rsmeta.workflows.mapping.request import AreaOfInterest, Bounds, IfExists


@overload
def predict(
    scenes: str | Path | Sequence[str | Path],
    bundle: str | Path | ModelBundle,
    *,
    output: str | Path | Products,
    aoi: AreaOfInterest | Bounds | str | Path | None = None,
    postprocess: Postprocess | None = None,
    execution: Execution | str | None = None,
    if_exists: IfExists = "error",
    settings: Overrides = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> list[PredictResult]: ...


@overload
def predict(
    scenes: xr.DataArray | xr.Dataset,
    bundle: str | Path | ModelBundle,
    *,
    probabilities: bool = False,
    device: str = "auto",
    settings: Overrides = (),
) -> xr.DataArray: ...


def predict(scenes: Any, bundle: str | Path | ModelBundle, **options: Any) -> Any:
    """Map scenes in files, or one in an xarray array.

    Args:
        scenes: Files (see ``predict_scenes``), or an array, which gives an array back (see
            ``predict_array``).
        bundle: A bundle, or its folder.
        **options: Those of the one or the other.

    Returns:
        One result per file, or an array on the coordinates of the given one.

    Raises:
        RsmetaError: Anything a user can mend.
    """
    if isinstance(scenes, str | Path | Sequence):
        return predict_files(scenes, bundle, **options)
    from rsmeta.workflows.mapping.predict_array import predict_array

    return predict_array(scenes, bundle, **options)
