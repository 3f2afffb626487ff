"""Labels, splits, sampling, statistics: what a batch holds, and what it must never hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from rsmeta.config.data import AugmentSettings, DataSettings
from rsmeta.data.augment import Augment
from rsmeta.data.chips import LabelledScene
from rsmeta.data.datamodule import SceneDataModule
from rsmeta.data.labels import LabelRules, open_labels
from rsmeta.data.scenes import SceneDataset
from rsmeta.data.splits import choose_blocks, outline
from rsmeta.data.statistics import Moments
from rsmeta.errors import (
    BandsMissingError,
    ConfigError,
    LabelsError,
    SceneError,
    SceneNotFoundError,
    SplitError,
    TrainingError,
)
from rsmeta.geo.grid import Grid
from rsmeta.geo.scene import open_scene
from rsmeta.models.prepare import Prepare

if TYPE_CHECKING:
    from tests.conftest import MakeScene

BANDS = ("red", "nir")


@pytest.fixture
def make_data(tmp_path: Path, make_scene: MakeScene) -> Any:
    """Return a function that writes scenes with labels and gives the settings for them."""

    def make(shape: tuple[int, int] = (160, 200), count: int = 1, **overrides: Any) -> DataSettings:
        rng = np.random.default_rng(0)
        for i in range(count):
            labels = rng.integers(0, 3, shape).astype(np.uint8)
            image = rng.normal(0.3, 0.05, (2, *shape)).astype(np.float32) + labels / 10
            make_scene(tmp_path / f"s{i}.tif", image.astype(np.float32), descriptions=BANDS)
            make_scene(tmp_path / f"s{i}_labels.tif", labels)
        given = {
            "root": tmp_path,
            "scenes": [f"s{i}.tif" for i in range(count)],
            "labels": "{stem}_labels.tif",
            "classes": {1: "low", 2: "high"},
            "ignore": 0,
            "chip_px": 32,
            "batch_size": 4,
            "chips_per_epoch": 24,
        }
        return DataSettings.model_validate(given | overrides)

    return make


def batches(data: SceneDataModule, part: str) -> list[dict[str, torch.Tensor]]:
    loader = {
        "train": data.train_dataloader, "validation": data.val_dataloader,
        "test": data.test_dataloader,
    }[part]()  # fmt: skip
    return list(loader)


def seen_pixels(data: SceneDataModule, part: str) -> np.ndarray:
    """Return which pixels of the first scene any chip of a part can see."""
    grid = data.parts[part][0].labelled.scene.grid  # type: ignore[index]
    region = data.parts[part][0].labelled.region  # type: ignore[index]
    assert region is not None
    inside: np.ndarray = region.contains(grid)
    return inside


def test_batch_holds_image_validity_and_labels(make_data: Any) -> None:
    data = SceneDataModule(make_data(), seed=0)
    batch = batches(data, "train")[0]
    assert batch["image"].shape == (4, 2, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert batch["valid"].dtype == torch.bool
    assert batch["mask"].dtype == torch.int64
    assert set(batch["mask"].unique().tolist()) <= {-1, 0, 1}
    assert (batch["mask"][~batch["valid"]] == -1).all()
    assert (batch["image"].permute(0, 2, 3, 1)[~batch["valid"]] == 0).all()


@pytest.mark.parametrize("by", ["blocks", "files", "polygons"])
def test_parts_never_share_a_pixel(make_data: Any, tmp_path: Path, by: str) -> None:
    split: dict[str, Any] = {"by": by, "test": 0.2}
    if by == "polygons":
        for name, left in (("val", 500_100), ("test", 501_000)):
            box = shapely.box(left, 5_148_600, left + 600, 5_149_900)
            frame = geopandas.GeoDataFrame(geometry=[box], crs="EPSG:32633").to_crs("EPSG:4326")
            frame.to_file(tmp_path / f"{name}.gpkg")
        split |= {"validation": "val.gpkg", "test": "test.gpkg"}
    settings = make_data(count=4 if by == "files" else 1, split=split)
    if by == "files":
        with pytest.raises(SplitError, match="cover 1 separate place"):
            SceneDataModule(settings, seed=0)
        return
    data = SceneDataModule(settings, seed=0)
    seen = {part: seen_pixels(data, part) for part in ("train", "validation", "test")}
    grown = {part: torch.nn.functional.max_pool2d(
        torch.from_numpy(inside)[None].float(), 3, 1, 1)[0].bool().numpy()
        for part, inside in seen.items()}  # fmt: skip
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert seen[a].any()
        assert not (grown[a] & seen[b]).any(), f"{a} touches {b}"


def test_files_split_keeps_places_apart(
    make_data: Any, make_scene: MakeScene, tmp_path: Path
) -> None:
    settings = make_data(count=3, split="files")
    for i in range(3):  # move the scenes to three places
        there = Affine(10, 0, 500_000 + 5_000 * i, 0, -10, 5_150_000)
        for name, bands in ((f"s{i}", BANDS), (f"s{i}_labels", ())):
            import rasterio

            with rasterio.open(tmp_path / f"{name}.tif") as file:
                array = file.read()
            make_scene(tmp_path / f"{name}.tif", array, descriptions=bands, transform=there)
    data = SceneDataModule(settings, seed=0)
    names = {
        part: {Path(p.labelled.scene.name).stem for p in data.parts[part]}
        for part in ("train", "validation")  # type: ignore[index]
    }
    assert len(names["train"]) == 2
    assert len(names["validation"]) == 1
    assert not names["train"] & names["validation"]


def test_same_place_on_several_dates_is_divided_alike(make_data: Any) -> None:
    data = SceneDataModule(make_data(count=3), seed=0)
    regions = [
        p.labelled.region.contains(p.labelled.scene.grid)
        for p in data.parts["train"]
        if p.labelled.region
    ]
    assert len(regions) == 3
    assert all((region == regions[0]).all() for region in regions)


def test_every_labelled_validation_pixel_is_evaluated_once(make_data: Any) -> None:
    data = SceneDataModule(make_data(shape=(150, 170), chip_px=48), seed=1)
    counted = sum(int((b["mask"] >= 0).sum()) for b in batches(data, "validation"))
    assert counted == sum(int(p.index.class_counts.sum()) for p in data.parts["validation"])


def test_the_seed_decides_on_the_chips_whatever_the_global_generator(make_data: Any) -> None:
    settings = make_data(count=2)

    def draw(seed: int, epoch: int, noise: int) -> list[Any]:
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002 the global generator is what is tested
        sampler = SceneDataModule(settings, seed=seed).train_dataloader().sampler
        sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return list(sampler)

    assert draw(0, 0, noise=1) == draw(0, 0, noise=2)
    assert draw(0, 0, noise=1) != draw(1, 0, noise=1)
    assert draw(0, 0, noise=1) != draw(0, 1, noise=1)


def test_chips_are_drawn_where_sparse_labels_are(make_data: Any, tmp_path: Path) -> None:
    rows = [shapely.box(500_300, 5_149_000, 500_340, 5_149_040),
            shapely.box(501_500, 5_148_600, 501_520, 5_148_620)]  # fmt: skip
    frame = geopandas.GeoDataFrame(
        {"kind": ["low", "high"]}, geometry=rows, crs="EPSG:32633"
    ).to_crs("EPSG:3035")
    frame.to_file(tmp_path / "labels.gpkg")
    data = SceneDataModule(
        make_data(
            labels="labels.gpkg", class_column="kind", split={"validation": 0.0},
            sampling="balanced", chips_per_epoch=200,
        ),
        seed=0,
    )  # fmt: skip
    found = [
        set(mask.unique().tolist()) - {-1} for b in batches(data, "train") for mask in b["mask"]
    ]
    assert all(found)
    lows = sum(0 in classes for classes in found)
    assert 60 < lows < 140, "balanced sampling draws both classes about equally often"


def test_scene_smaller_than_a_chip_is_padded_and_masked(make_data: Any) -> None:
    data = SceneDataModule(make_data(shape=(20, 25), split={"validation": 0.0}), seed=0)
    batch = batches(data, "train")[0]
    assert batch["image"].shape[-2:] == (32, 32)
    assert batch["valid"].sum(dim=(1, 2)).tolist() == [20 * 25] * 4


def test_statistics_come_from_training_pixels_only(
    make_data: Any, make_scene: MakeScene, tmp_path: Path
) -> None:
    settings = make_data()
    import rasterio

    before = SceneDataModule(settings, seed=0)
    held_out = ~seen_pixels(before, "train")
    with rasterio.open(tmp_path / "s0.tif") as file:
        image = file.read()
    image[:, held_out] = 1e6
    make_scene(tmp_path / "s0.tif", image, descriptions=BANDS)
    after = SceneDataModule(settings, seed=0)
    for one, other in zip(before.statistics, after.statistics, strict=True):
        assert np.allclose(one, other)
    assert np.allclose(before.statistics[0], image[:, ~held_out].mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 0.3, 1e7])
def test_moments_of_pieces_are_those_of_the_whole(offset: float) -> None:
    rng = np.random.default_rng(0)
    pixels = offset + rng.normal(0, [[0.5], [30.0]], (2, 1000))
    pixels = np.concatenate([pixels, np.full((1, 1000), offset, np.float32)])
    moments = Moments(3)
    for piece in np.split(pixels, [10, 11, 400], axis=1):
        moments.add(piece, weight=piece.shape[1])
    assert np.allclose(moments.mean, pixels.mean(axis=1), rtol=1e-12)
    assert np.allclose(moments.std[:2], pixels[:2].std(axis=1), rtol=1e-6)
    assert moments.std[2] == 1


def test_bands_of_a_single_value_are_said(
    make_data: Any, make_scene: MakeScene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_data()
    import rasterio

    with rasterio.open(tmp_path / "s0.tif") as file:
        image = file.read()
    image[0] = 0.3
    make_scene(tmp_path / "s0.tif", image, descriptions=BANDS)
    mean, std = SceneDataModule(settings, seed=0).statistics
    assert (mean[0], std[0]) == (pytest.approx(0.3), 1)
    assert f"{BANDS[0]}: a single value on all training pixels" in caplog.text
    image[:] = 0
    make_scene(tmp_path / "s0.tif", image, descriptions=BANDS)
    with pytest.raises(TrainingError, match="every band holds a single value"):
        _ = SceneDataModule(settings, seed=0).statistics


def test_scenes_of_several_crs_are_each_read_on_their_own_grid(
    make_data: Any, make_scene: MakeScene, tmp_path: Path
) -> None:
    settings = make_data(count=2, split={"validation": 0.0})
    import rasterio

    for name, bands in (("s1", BANDS), ("s1_labels", ())):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            array = file.read()
        make_scene(
            tmp_path / f"{name}.tif", array, descriptions=bands, crs="EPSG:32634",
            transform=Affine(30, 0, 300_000, 0, -30, 5_000_000),
        )  # fmt: skip
    data = SceneDataModule(settings, seed=0)
    with rasterio.open(tmp_path / "s1.tif") as file:
        pixels = set(file.read(1).ravel().tolist())
    chips = data.train_dataloader().dataset
    key = next(k for k in data.train_dataloader().sampler if k.scene == 1)  # type: ignore[attr-defined]
    sample = chips[key]
    assert set(sample["image"][0].ravel().tolist()) <= pixels, "pixels are copied, never warped"
    assert data.gsd_range_m == pytest.approx((10, 30), rel=0.01)


def test_torchgeo_samplers_and_collation_work_with_our_datasets(make_data: Any) -> None:
    from rsmeta.data.torchgeo_compat import RasterDataset, stack_samples

    settings = make_data()
    scene = open_scene(settings.root / "s0.tif")
    labels = open_labels(
        settings.root / "s0_labels.tif", scene.grid, LabelRules(settings.classes, (0,))
    )
    dataset = SceneDataset(LabelledScene(scene, labels))
    assert isinstance(dataset, RasterDataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in torchgeo 0.10, which keeps it working
        from torchgeo.samplers import GridGeoSampler

        sampler = GridGeoSampler(dataset, size=64, stride=64)
        samples = [dataset[query] for query in sampler]
    batch = stack_samples(samples)
    assert batch["image"].shape[1:] == (2, 64, 64)
    assert batch["mask"].shape[1:] == (64, 64)


@given(
    counts=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 5), st.integers(0, 200)),
        min_size=1,
        max_size=30,
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_no_class_is_ever_taken_from_training(
    counts: list[tuple[int, int, int]], share: float, seed: int
) -> None:
    blocks = {(0, i, 0): np.array(c) for i, c in enumerate(counts)}
    chosen = choose_blocks(
        blocks, {"validation": share, "test": share / 2}, np.random.default_rng(seed)
    )
    taken = {*chosen["validation"], *chosen["test"]}
    assert len(taken) == len(chosen["validation"]) + len(chosen["test"])
    left = np.sum([c for b, c in blocks.items() if b not in taken] or [np.zeros(3)], axis=0)
    total = np.sum(list(blocks.values()), axis=0)
    assert ((left > 0) == (total > 0)).all()


def test_augmentation_moves_image_validity_and_labels_together() -> None:
    settings = DataSettings.model_validate(
        {"scenes": "a.tif", "labels": "b.tif", "classes": ["a", "b"],
         "augment": {"gain": 0, "band_gain": 0}}
    ).augment  # fmt: skip
    torch.manual_seed(0)
    mask = torch.randint(-1, 5, (16, 24, 24))
    valid = mask >= 0
    image = torch.where(valid, mask + 1, 0)[:, None].float().repeat(1, 3, 1, 1)
    moved, moved_valid, moved_mask = Augment(settings)(image, valid, mask)
    assert (moved_mask == torch.where(moved_valid, moved[:, 0].round().long() - 1, -1)).all()
    assert not torch.equal(moved_mask, mask)
    assert moved_mask.unique().tolist() == mask.unique().tolist()


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_dropped_bands_show_their_mean_and_one_is_always_kept(share: float) -> None:
    augment = AugmentSettings(gain=0, band_gain=0, band_drop=share)
    torch.manual_seed(0)
    image = torch.rand(400, 5, 4, 4) + 1
    valid = torch.ones(400, 4, 4, dtype=torch.bool)
    changed, _, _ = Augment(augment)(image, valid, valid.long())
    dropped = changed.isnan().all(dim=(2, 3))
    assert torch.equal(dropped, changed.isnan().any(dim=(2, 3))), "a band as a whole"
    assert not dropped.all(dim=1).any()
    assert dropped.float().mean() == pytest.approx(min(share, 0.8), abs=0.05)
    shown = Prepare([1.5] * 5, [0.3] * 5)(changed, valid)
    assert (shown[dropped] == 0).all()
    assert shown[~dropped].abs().amin(dim=(1, 2)).max() > 0


@pytest.mark.parametrize("names", [["B08", "B04"], ["nir", "red"]])
def test_bands_are_chosen_by_either_name(
    make_data: Any, make_scene: MakeScene, tmp_path: Path, names: list[str]
) -> None:
    settings = make_data(use_bands=names, sensor="sentinel2_l2a")
    image = np.full((3, 160, 200), 2000, np.uint16)
    make_scene(tmp_path / "s0.tif", image, descriptions=("B02", "B04", "B08"))
    assert [band.name for band in SceneDataModule(settings, seed=0).bands] == ["B08", "B04"]


ERRORS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"root": "/nowhere"}, ConfigError, "no folder at data.root=/nowhere"),
    ({"scenes": ["missing.tif"]}, SceneNotFoundError, "missing.tif"),
    ({"scenes": ["*.jp2"]}, SceneNotFoundError, "jp2"),
    ({"labels": "missing.tif"}, LabelsError, "no labels at"),
    ({"labels": "s0.tif"}, LabelsError, "2 bands"),
    ({"classes": {1: "low", 3: "other"}}, LabelsError, "holds the value 2, which is no class"),
    ({"use_bands": ["swir16"]}, BandsMissingError, "swir16"),
    ({"split": {"block_px": 4000}}, SplitError, "block_px smaller"),
    ({"split": {"by": "files"}}, SplitError, "split.by=blocks"),
    ({"labels": "broken.tif"}, LabelsError, "cannot read"),
]


@pytest.mark.parametrize(("change", "kind", "words"), ERRORS)
def test_bad_input_is_one_clear_sentence(
    make_data: Any, tmp_path: Path, change: dict[str, Any], kind: type[Exception], words: str
) -> None:
    (tmp_path / "broken.tif").write_text("this is no raster")
    with pytest.raises(kind, match=words) as caught:
        SceneDataModule(make_data(**change), seed=0)
    assert "\n" not in str(caught.value)


def test_polygons_say_what_is_wrong_with_them(make_data: Any, tmp_path: Path) -> None:
    box = shapely.box(500_300, 5_149_000, 500_900, 5_149_400)
    far = shapely.box(0, 0, 10, 10)
    for name, geometry, crs in (("near", box, 32633), ("far", far, 32633), ("bare", box, None)):
        frame = geopandas.GeoDataFrame({"kind": ["low"]}, geometry=[geometry], crs=crs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a layer without CRS is what is wanted
            frame.to_file(tmp_path / f"{name}.gpkg")
    geopandas.GeoDataFrame({"kind": ["lows"]}, geometry=[box], crs=32633).to_file(
        tmp_path / "typo.gpkg"
    )
    for name, column, words in (
        ("typo", None, "name the class column"),
        ("near", "kinds", "did you mean 'kind'"),
        ("far", "kind", "do not overlap"),
        ("bare", "kind", "has no CRS"),
        ("typo", "kind", "did you mean 'low'"),
    ):
        with pytest.raises(LabelsError, match=words):
            SceneDataModule(make_data(labels=f"{name}.gpkg", class_column=column), seed=0)


def test_the_only_column_with_class_names_need_not_be_named(make_data: Any, tmp_path: Path) -> None:
    box = shapely.box(500_300, 5_149_000, 500_900, 5_149_400)
    columns = {"number": [7], "kind": ["low"], "remark": ["wet"]}
    geopandas.GeoDataFrame(columns, geometry=[box], crs=32633).to_file(tmp_path / "named.gpkg")
    settings = make_data(labels="named.gpkg", split={"validation": 0.0})
    assert SceneDataModule(settings, seed=0).class_counts.tolist() == [60 * 40, 0]


@pytest.mark.parametrize("labels", ["{stem}_labels.tif", "fields.gpkg"])
def test_a_rotated_scene_trains_on_its_own_pixels(
    make_data: Any, make_scene: MakeScene, tmp_path: Path, labels: str
) -> None:
    turned = Affine(8, 6, 500_000, 6, -8, 5_150_000)
    classes = np.kron([[1, 2, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2]], np.ones((48, 48))).astype(int)
    settings = make_data(labels=labels, class_column="kind", split={"block_px": 48})
    image = np.stack([classes / 10, classes / 5]).astype(np.float32)
    make_scene(tmp_path / "s0.tif", image, descriptions=BANDS, transform=turned)
    make_scene(tmp_path / "s0_labels.tif", classes.astype(np.uint8), transform=turned)
    fields = [
        (value, outline(Grid(None, turned, *classes.shape).crop(Window(48 * c, 48 * r, 48, 48))))
        for (r, c), value in np.ndenumerate(classes[::48, ::48])
    ]
    names = {1: "low", 2: "high"}
    geopandas.GeoDataFrame(
        {"kind": [names[value] for value, _ in fields]},
        geometry=[field for _, field in fields], crs="EPSG:32633",
    ).to_file(tmp_path / "fields.gpkg")  # fmt: skip
    data = SceneDataModule(settings, seed=0)
    for part in ("train", "validation"):
        for batch in batches(data, part):
            image, mask = batch["image"][:, 0], batch["mask"]
            assert torch.allclose(image[mask >= 0], (mask[mask >= 0] + 1) / 10)
    counted = sum(int(p.index.class_counts.sum()) for p in data.parts["validation"])
    assert 0.1 < counted / classes.size < 0.4
    with pytest.raises(SceneError, match="which TorchGeo's queries cannot express"):
        SceneDataset(data.parts["train"][0].labelled)


def test_labels_on_another_grid_are_read_by_nearest_neighbour(
    make_data: Any, make_scene: MakeScene, tmp_path: Path
) -> None:
    settings = make_data(shape=(60, 60))
    coarse = np.array([[1, 2], [2, 1]], dtype=np.uint8)
    make_scene(
        tmp_path / "coarse.tif", coarse, transform=Affine(300, 0, 500_000, 0, -300, 5_150_000)
    )
    scene = open_scene(tmp_path / "s0.tif")
    labels = open_labels(tmp_path / "coarse.tif", scene.grid, LabelRules(settings.classes))
    assert (
        labels.read(scene.grid.full_window) == np.kron(coarse - 1, np.ones((30, 30), int))
    ).all()


def test_a_test_scene_over_training_scenes_is_a_warning(
    make_data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_data(count=2, scenes=["s0.tif"], test_scenes=["s1.tif"])
    with caplog.at_level("WARNING", logger="rsmeta"):
        SceneDataModule(settings, seed=0)
    assert "s1.tif overlaps the training scenes" in caplog.text
