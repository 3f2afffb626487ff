"""The text tower and the image projection of a CLIP, from one file that holds both towers."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.nn import functional

from rsmeta.errors import CheckpointError, ConfigError
from rsmeta.models.checkpoint import LoadReport, load_strictly, read_checkpoint
from rsmeta.models.clip.names import CLIP_FILES, clip_name, require_open_clip
from rsmeta.models.clip.prompts import fill
from rsmeta.models.weights import locate_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.models.checkpoint import StateDict
    from rsmeta.models.clip.names import ClipName
    from rsmeta.models.weights import LocalWeights

logger = logging.getLogger(__name__)

#: Beginnings of the names of a text tower's tensors.
_TEXT = (
    "token_embedding.", "positional_embedding", "transformer.resblocks.", "ln_final.",
    "text_projection",
)  # fmt: skip

#: Width of an attention head of every CLIP text tower.
_HEAD_DIM = 64

_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")


class TextTower(nn.Module):
    """Makes normalised features of sentences, to compare with those of images.

    Args:
        transformer: The text transformer of open_clip, with its weights.
        tokenizer: Makes tokens (B, context) of sentences.
        load_report: Which tensors were loaded.

    Attributes:
        dim: Width D of the features.
        context_length: Tokens that a prompt may have, its beginning and end included.
    """

    def __init__(self, transformer: nn.Module, tokenizer: Any, *, load_report: LoadReport) -> None:
        super().__init__()
        self.transformer = transformer
        self.load_report = load_report
        self.dim: int = cast("Any", transformer).output_dim
        self.context_length: int = cast("Any", transformer).context_length
        self._tokenizer = tokenizer

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return features of sentences, (K, D), each of length 1.

        Raises:
            ConfigError: A sentence is longer than the tower reads.
        """
        for prompt in prompts:
            tokens = len(self._tokenizer.encode(prompt)) + 2
            if tokens > self.context_length:
                raise ConfigError(
                    f"the prompt {prompt[:40]!r}… has {tokens} tokens, the text tower reads "
                    f"{self.context_length}; shorten it"
                )
        tokens = self._tokenizer(list(prompts)).to(next(self.parameters()).device)
        return functional.normalize(cast("Tensor", self.transformer(tokens)), dim=-1)

    def class_features(
        self, classes: Sequence[str], templates: str | Sequence[str] = "photo"
    ) -> Tensor:
        """Return one feature vector per class, (K, D), each of length 1.

        Args:
            classes: Names of the classes, K.
            templates: A set of prompts, or prompts with ``{}`` for the name; of several, the mean
                of the normalised features is taken and normalised again.

        Raises:
            UnknownNameError: No set of prompts has that name.
            ConfigError: A prompt has no ``{}``, or is too long.

        Source: Radford et al. 2021 (arXiv:2103.00020), section 3.1.4.
        """
        prompts = fill(classes, templates)
        features = self.encode([prompt for group in prompts for prompt in group])
        means = features.reshape(len(classes), -1, self.dim).mean(dim=1)
        return functional.normalize(means, dim=-1)


class ImageProjection(nn.Module):
    """Takes an image tower's feature vectors into the space that images and texts share.

    Args:
        weight: (D, D_image).
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, cls: Tensor) -> Tensor:
        """Return features (B, D), each of length 1.

        Args:
            cls: ``Features.cls`` of the timm backbone with the same weights, (B, D_image).
        """
        return functional.normalize(functional.linear(cls, self.weight), dim=-1)


@dataclass(frozen=True)
class Clip:
    """What turns a CLIP image tower into a classifier by words.

    Args:
        text: Features of sentences.
        projection: From the image tower's feature vectors to the same space.
        scale: Learned factor of their cosine.
        weights: The file that they are from.
    """

    text: TextTower
    projection: ImageProjection
    scale: float
    weights: LocalWeights

    def scores(self, cls: Tensor, text: Tensor) -> Tensor:
        """Return zero-shot logits (B, K): scale times the cosine of image and text.

        Args:
            cls: ``Features.cls`` of the image tower, (B, D_image).
            text: Features of the classes, (K, D), as ``text.class_features`` returns them.
        """
        image: Tensor = self.projection(cls)
        return self.scale * image @ text.T


def load_clip(backbone: str, *, checkpoint: str | None = None, sha256: str | None = None) -> Clip:
    """Load what belongs to a CLIP image tower of timm: text tower, projection, scale.

    The image tower itself is ``build_backbone`` with the same name and the same file.

    Args:
        backbone: Timm name of the image tower, ``vit_base_patch16_clip_quickgelu_224.openai``.
        checkpoint: File, https address or hub name of a whole CLIP, as open_clip or OpenAI's
            state dict holds it; none: the one that the name's tag stands for.
        sha256: What the file's SHA-256 must be; none: any.

    Raises:
        UnknownNameError: No CLIP image tower has that name or tag.
        CheckpointError: The file is unavailable, is not a whole CLIP, or was trained with another
            activation than the image tower of that name has.
        MissingExtraError: open_clip is not installed.
    """
    name = clip_name(backbone)
    if not name.exact:
        raise CheckpointError(
            f"the weights {backbone} were trained with {'Quick' if name.quick_gelu else ''}GELU, "
            f"which that image tower has not: its features would not be CLIP's; set "
            f"model.backbone={name.exact_spelling}"
        )
    weights, state = _read(name, checkpoint, sha256)
    proj = state.get("visual.proj")
    scale = state.get("logit_scale")
    if proj is None or scale is None:
        raise _no_clip(weights, "visual.proj" if proj is None else "logit_scale")
    text = _text_tower(name, weights, state)
    projection = ImageProjection(proj.float().T.contiguous())
    return Clip(text, projection, float(scale.float().exp()), weights)


def load_text_tower(
    backbone: str, *, checkpoint: str | None = None, sha256: str | None = None
) -> TextTower:
    """Load the text tower that belongs to a CLIP image tower of timm; see ``load_clip``."""
    name = clip_name(backbone)
    return _text_tower(name, *_read(name, checkpoint, sha256))


def _read(
    name: ClipName, checkpoint: str | None, sha256: str | None
) -> tuple[LocalWeights, StateDict]:
    """Return the file of a whole CLIP, and its tensors without wrappers around their names."""
    source = checkpoint or name.source
    if source is None:
        raise CheckpointError(
            f"{name.backbone} names no weights; add a tag to it or set checkpoint="
        )
    weights = locate_weights(source, sha256=sha256, files=CLIP_FILES)
    state = read_checkpoint(weights.path)
    return weights, {
        key.removeprefix("module.").removeprefix("text."): value for key, value in state.items()
    }


def _text_tower(name: ClipName, weights: LocalWeights, state: StateDict) -> TextTower:
    open_clip = require_open_clip()
    own = {key: value.float() for key, value in state.items() if key.startswith(_TEXT)}
    transformer = open_clip.transformer.TextTransformer(
        **_measures(own, weights),
        act_layer=open_clip.transformer.QuickGELU if name.quick_gelu else nn.GELU,
    )
    report = load_strictly(
        transformer, own, report=LoadReport(weights.source, weights.sha256, 0, (), (), ())
    )
    logger.debug("%s", report.summary())
    tokenizer = _tokenizer(transformer.context_length)
    return TextTower(transformer.eval(), tokenizer, load_report=report)


@cache  # it reads and sorts 49,152 merges of bytes
def _tokenizer(context_length: int) -> Any:
    return require_open_clip().SimpleTokenizer(context_length=context_length)


def _measures(state: Mapping[str, Tensor], weights: LocalWeights) -> dict[str, int]:
    """Return the measures of a text tower: all of them follow from its tensors.

    Source: ``build_model_from_openai_state_dict`` of open_clip, for the width of a head.
    """
    for key in ("token_embedding.weight", "positional_embedding", "text_projection"):
        if key not in state or state[key].ndim != 2:
            raise _no_clip(weights, key)
    vocab_size, width = state["token_embedding.weight"].shape
    return {
        "context_length": state["positional_embedding"].shape[0],
        "vocab_size": vocab_size,
        "width": width,
        "heads": max(width // _HEAD_DIM, 1),
        "layers": len({m[1] for key in state if (m := _BLOCK.match(key))}),
        "output_dim": state["text_projection"].shape[1],
    }


def _no_clip(weights: LocalWeights, lacks: str) -> CheckpointError:
    return CheckpointError(
        f"{weights.source} is no whole CLIP: it lacks {lacks}; give a file of open_clip, with "
        f"image and text tower"
    )
