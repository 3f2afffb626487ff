"""Which open_clip weights belong to a CLIP image tower of timm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rsmeta.errors import CheckpointError, MissingExtraError, UnknownNameError
from rsmeta.models.weights.hub import HUB_PREFIX

#: Files of a whole CLIP on the hub, in the order in which they are looked for.
CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_COMMON = {
    "openai": "openai",
    "laion400m_e32": "laion400m_e32",
    "metaclip_400m": "metaclip_400m",
    "metaclip_2pt5b": "metaclip_fullcc",
    "datacompxl": "datacomp_xl_s13b_b90k",
}

#: Image towers of timm without ``_quickgelu``: open_clip's name of the architecture, and its
#: name of the weights for timm's tags.
_TOWERS: dict[str, tuple[str, dict[str, str]]] = {
    "vit_base_patch32_clip_224": ("ViT-B-32", {**_COMMON, "laion2b": "laion2b_s34b_b79k"}),
    "vit_base_patch32_clip_256": ("ViT-B-32-256", {"datacompxl": "datacomp_s34b_b86k"}),
    "vit_base_patch16_clip_224": (
        "ViT-B-16", {**_COMMON, "laion2b": "laion2b_s34b_b88k", "dfn2b": "dfn2b"}
    ),
    "vit_large_patch14_clip_224": (
        "ViT-L-14",
        {**_COMMON, "laion2b": "laion2b_s32b_b82k", "dfn2b": "dfn2b", "dfn2b_s39b": "dfn2b_s39b"},
    ),
    "vit_large_patch14_clip_336": ("ViT-L-14-336", {"openai": "openai"}),
    "vit_huge_patch14_clip_224": (
        "ViT-H-14",
        {"laion2b": "laion2b_s32b_b79k", "dfn5b": "dfn5b", "metaclip_2pt5b": "metaclip_fullcc"},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ClipName:
    """The text tower, and the projection, that belong to an image tower of timm.

    Args:
        backbone: Timm name of the image tower, with the tag where one was given.
        architecture: Its name in open_clip.
        source: Hub name of a file with both towers; none: the name has no tag.
        quick_gelu: Whether the weights were trained with QuickGELU, an approximation of GELU.
    """

    backbone: str
    architecture: str
    source: str | None
    quick_gelu: bool

    @property
    def exact(self) -> bool:
        """Whether the image tower has the activation that the weights were trained with."""
        return self.quick_gelu == ("_quickgelu" in self.backbone)

    @property
    def exact_spelling(self) -> str:
        """The name of the same image tower with the right activation."""
        plain = self.backbone.replace("_quickgelu", "")
        return plain.replace("_clip_", "_clip_quickgelu_") if self.quick_gelu else plain


def clip_name(backbone: str) -> ClipName:
    """Return which text tower and projection belong to an image tower.

    Args:
        backbone: Timm name, ``vit_base_patch16_clip_quickgelu_224.openai``; without a tag the
            weights must be given as a file.

    Raises:
        UnknownNameError: No CLIP image tower has that name, or no whole CLIP that tag.
        MissingExtraError: open_clip is not installed.
    """
    name, _, tag = backbone.partition(".")
    plain = name.replace("_quickgelu", "")
    if plain not in _TOWERS:
        raise UnknownNameError("CLIP image tower", name, _TOWERS)
    architecture, tags = _TOWERS[plain]
    if not tag:
        return ClipName(backbone, architecture, None, "_quickgelu" in name)
    if tag not in tags:
        raise UnknownNameError(f"weights of a whole CLIP for {name}", tag, tags)
    config = require_open_clip().pretrained.get_pretrained_cfg(architecture, tags[tag])
    repository = config["hf_hub"].strip("/")
    if not repository:
        raise CheckpointError(
            f"the weights {tag} of {architecture} are on no hub; set checkpoint= to a file of them"
        )
    quick_gelu = bool(config.get("quick_gelu", False))
    return ClipName(backbone, architecture, f"{HUB_PREFIX}{repository}", quick_gelu)


def require_open_clip() -> Any:
    """Return the module ``open_clip``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtraError("open_clip_torch", "clip") from error
    return open_clip
