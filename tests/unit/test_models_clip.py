"""CLIP: text features, image features in the same space and zero-shot scores equal open_clip's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import open_clip
import pytest
import timm
import torch
from open_clip.pretrained import get_pretrained_cfg
from safetensors.torch import save_file
from torch.nn import functional

from rsmeta.config.model import ModelSpec
from rsmeta.errors import CheckpointError, ConfigError, MissingExtraError, UnknownNameError
from rsmeta.geo.bands import generic_band
from rsmeta.models import build_backbone
from rsmeta.models.clip import TEMPLATES, clip_name, fill, load_clip, load_text_tower
from rsmeta.models.clip.names import _TOWERS
from tests.unit.tiny_clip import reference

if TYPE_CHECKING:
    from pathlib import Path

    from open_clip.model import CLIP

RGB = tuple(generic_band(name) for name in ("red", "green", "blue"))
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
OPTIONS = {"embed_dim": 64, "depth": 2, "num_heads": 1, "patch_size": 16, "img_size": 32}
NAMES = {False: "vit_base_patch16_clip_224", True: "vit_base_patch16_clip_quickgelu_224"}
PROMPTS = ["a photo of a lake.", "forest seen from above", "x"]


#: Tokens of the prompts.
TOKENS = open_clip.SimpleTokenizer(context_length=24)(PROMPTS)


def _write(model: CLIP, folder: Path, form: str) -> Path:
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if form == "safetensors":
        save_file(state, folder / "clip.safetensors")
        return folder / "clip.safetensors"
    if form == "training":
        content: dict[str, Any] = {
            "epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()},
        }  # fmt: skip
    else:  # as OpenAI's own: sizes beside the tensors
        content = {**state, "input_resolution": torch.tensor(32), "vocab_size": torch.tensor(49408)}
    torch.save(content, folder / "clip.pt")
    return folder / "clip.pt"


@pytest.mark.parametrize(
    ("quick_gelu", "form"), [(False, "safetensors"), (True, "training"), (True, "openai")]
)
def test_both_towers_equal_open_clip(tmp_path: Path, quick_gelu: bool, form: str) -> None:
    model = reference(quick_gelu=quick_gelu)
    file, name = str(_write(model, tmp_path, form)), NAMES[quick_gelu]
    clip = load_clip(name, checkpoint=file)
    spec = ModelSpec(backbone=name, options=OPTIONS, checkpoint=file)
    backbone = build_backbone(spec, RGB).eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        text = clip.text.encode(PROMPTS)
        torch.testing.assert_close(text, model.encode_text(TOKENS, normalize=True), **CLOSE)
        cls = backbone(images).cls
        wanted = model.encode_image(images, normalize=True)
        torch.testing.assert_close(clip.projection(cls), wanted, **CLOSE)
        logits, _ = model.get_logits(images, TOKENS)
        torch.testing.assert_close(clip.scores(cls, text), logits, atol=3e-4, rtol=1e-4)
    assert clip.text.dim == 32
    assert clip.text.load_report.missing == ()
    assert clip.weights.sha256 == clip.text.load_report.sha256


def test_text_tensors_in_an_image_tower_are_counted(tmp_path: Path) -> None:
    file = str(_write(reference(quick_gelu=False), tmp_path, "safetensors"))
    spec = ModelSpec(backbone=NAMES[False], options=OPTIONS, checkpoint=file)
    report = build_backbone(spec, RGB).load_report
    assert report is not None
    assert {"text_projection", "logit_scale", "token_embedding.weight"} <= set(report.unexpected)


def test_the_activation_matters(tmp_path: Path) -> None:
    file = str(_write(reference(quick_gelu=True), tmp_path, "safetensors"))
    quick, plain = (load_text_tower(NAMES[q], checkpoint=file) for q in (True, False))
    with torch.no_grad():
        assert not torch.allclose(quick.encode(PROMPTS), plain.encode(PROMPTS), atol=1e-4)


def test_the_layout_with_a_text_module_of_its_own(tmp_path: Path) -> None:
    model = reference(quick_gelu=False)
    state = {
        k if k.startswith(("visual.", "logit")) else f"text.{k}": v
        for k, v in model.state_dict().items()
    }
    torch.save(state, tmp_path / "clip.pt")
    tower = load_text_tower(NAMES[False], checkpoint=str(tmp_path / "clip.pt"))
    with torch.no_grad():
        wanted = model.encode_text(TOKENS, normalize=True)
        torch.testing.assert_close(tower.encode(PROMPTS), wanted, **CLOSE)


# -- prompts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    file = _write(reference(quick_gelu=False), folder, "safetensors")
    return load_text_tower(NAMES[False], checkpoint=str(file))


@torch.no_grad()
def test_an_ensemble_is_the_normalised_mean_of_normalised_features(tower: Any) -> None:
    features = tower.class_features(["lake", "annual_crop"], "overhead")
    assert features.shape == (2, 32)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))
    prompts = [t.replace("{}", "annual crop") for t in TEMPLATES["overhead"]]
    wanted = functional.normalize(tower.encode(prompts).mean(0), dim=-1)
    torch.testing.assert_close(features[1], wanted)
    one = tower.class_features(["lake"])
    torch.testing.assert_close(one, tower.encode(["a photo of a lake."]))


def test_prompts() -> None:
    assert fill(["a_b", "c"], ["{}!", "{} {}"]) == [["a b!", "a b a b"], ["c!", "c c"]]
    assert fill(["a"], "name") == [["a"]]
    assert fill(["a"], ["{} {0.__class__}"]) == [["a {0.__class__}"]]
    with pytest.raises(UnknownNameError, match="did you mean 'overhead'"):
        fill(["a"], "overhed")
    with pytest.raises(ConfigError, match=r"has no \{\} for the name"):
        fill(["a"], ["a photo"])
    with pytest.raises(ConfigError, match="at least one class"):
        fill([], "photo")


def test_a_prompt_that_is_too_long(tower: Any) -> None:
    with pytest.raises(ConfigError, match=r"has 42 tokens, the text tower reads 24; shorten it"):
        tower.encode(["lake " * 40])


# -- names ---------------------------------------------------------------------------------------


def test_every_pair_exists_in_timm_and_in_open_clip() -> None:
    for name, (architecture, tags) in _TOWERS.items():
        config = open_clip.get_model_config(architecture)
        with torch.device("meta"):
            vit = timm.create_model(name)
        assert (
            config["embed_dim"] == timm.get_pretrained_cfg(f"{name}.{next(iter(tags))}").num_classes
        )
        assert config["vision_cfg"]["image_size"] == vit.patch_embed.img_size[0]
        assert config["vision_cfg"]["patch_size"] == vit.patch_embed.patch_size[0]
        assert config["text_cfg"]["width"] // config["text_cfg"]["heads"] == 64
        for tag, theirs in tags.items():
            assert f"{name}.{tag}" in timm.list_pretrained(f"{name}.*")
            assert get_pretrained_cfg(architecture, theirs)
            found = clip_name(f"{name}.{tag}")
            assert found.source is not None
            assert found.source.startswith("hf:")
            assert found.exact_spelling.partition(".")[0] in timm.list_models("*clip*")


def test_names_that_have_no_text_tower() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vit_base_patch16_clip_224'"):
        clip_name("vit_base_patch16_clip_225")
    with pytest.raises(UnknownNameError, match=r"weights of a whole CLIP for .*known: datacompxl"):
        clip_name("vit_base_patch16_clip_224.openai_ft_in1k")
    with pytest.raises(CheckpointError, match="names no weights; add a tag"):
        load_text_tower("vit_base_patch16_clip_224")


def test_an_image_tower_with_another_activation_is_refused() -> None:
    wanted = r"trained with QuickGELU.*model\.backbone=vit_base_patch16_clip_quickgelu_224\.openai"
    with pytest.raises(CheckpointError, match=wanted):
        load_clip("vit_base_patch16_clip_224.openai")
    with pytest.raises(CheckpointError, match=r"with GELU.*=vit_base_patch16_clip_224\.laion2b"):
        load_clip("vit_base_patch16_clip_quickgelu_224.laion2b")


def test_files_that_are_no_whole_clip(tmp_path: Path) -> None:
    state = dict(reference(quick_gelu=False).state_dict())
    for lacks in ("visual.proj", "text_projection", "logit_scale"):
        kept = {k: v.contiguous() for k, v in state.items() if k != lacks}
        save_file(kept, tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match=f"is no whole CLIP: it lacks {lacks}"):
            load_clip(NAMES[False], checkpoint=str(tmp_path / "a.safetensors"))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"open_clip_torch is not .*'rsmeta\[clip\]'"):
        clip_name("vit_base_patch16_clip_224.openai")


def test_weights_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(reference(quick_gelu=True), tmp_path, "safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def fetch(repo: str, name: str, *, revision: str) -> str:
        asked.append((repo, name, revision))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    load_clip("vit_base_patch16_clip_quickgelu_224.openai")
    assert asked == [
        ("timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors", "main")
    ]
