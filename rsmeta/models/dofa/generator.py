"""Make the filters of a patch embedding from wavelengths, as DOFA does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rsmeta.errors import CheckpointError
from rsmeta.models.checkpoint import check_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rsmeta.models.checkpoint import StateDict

#: Where a published file of DOFA has the generator's tensors.
AT = "patch_embed."

_HEADS = 4
#: Factor of all that the generator makes.
_SCALE = 0.01


class FilterGenerator(nn.Module):
    """A transformer layer over bands, from wavelengths to filters and a bias.

    The filters of a band depend on the other bands of the input too, and not on the image: for a
    fixed sensor they are constants.

    Args:
        dim: Width of an embedded wavelength.
        tokens: Learned tokens beside the bands.
        hidden: Width inside the layer.
        outputs: Numbers in the filter of a band, p * p * D.
        width: Width D of the backbone's features.

    Source: "Neural Plasticity-Inspired Multimodal Foundation Model for Earth Observation", Xiong
    et al., 2024, section 3.1; reference code: https://github.com/zhu-xlab/DOFA.
    """

    def __init__(self, dim: int, tokens: int, hidden: int, outputs: int, width: int) -> None:
        super().__init__()
        self.weight_generator = _Maker(dim, tokens, hidden, outputs, width)
        self.fclayer = _Residual(dim)

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Return filters (D, C, p, p) and their bias (D,).

        Args:
            waves: Embedded wavelengths of the bands, in their order, (C, dim).
        """
        flat, bias = self.weight_generator(self.fclayer(waves))
        side = round((flat.shape[1] / len(bias)) ** 0.5)
        filters = flat.view(len(waves), side, side, len(bias)).permute(3, 0, 1, 2)
        return filters * _SCALE, bias * _SCALE


class _Maker(nn.Module):
    """The part that ``weight_generator`` names in a file."""

    def __init__(self, dim: int, tokens: int, hidden: int, outputs: int, width: int) -> None:
        super().__init__()
        self.dim = dim
        layer = nn.TransformerEncoderLayer(dim, _HEADS, hidden, dropout=0.0, activation="gelu")
        self.transformer_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc_weight = nn.Linear(dim, outputs)
        self.fc_bias = nn.Linear(dim, width)
        self.weight_tokens = nn.Parameter(torch.zeros(tokens, dim))
        self.bias_token = nn.Parameter(torch.zeros(1, dim))

    def forward(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Return filters (C, p * p * D) and bias (D,) for embedded wavelengths (C, dim)."""
        sequence = torch.cat([self.weight_tokens, waves, self.bias_token])
        out = self.transformer_encoder(sequence)
        flat = self.fc_weight(out[len(self.weight_tokens) : -1] + waves)
        return flat, self.fc_bias(out[-1])


class _Residual(nn.Module):
    """The part that ``fclayer`` names in a file."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, dim)
        self.w2 = nn.Linear(dim, dim)

    def forward(self, waves: Tensor) -> Tensor:
        """Return embedded wavelengths (C, dim), transformed."""
        inner: Tensor = self.w2(self.w1(waves).relu())
        return waves + inner.relu()


def has_generator(state: Mapping[str, Tensor], at: str = AT) -> bool:
    """Whether tensors have a generator of filters, as published.

    Args:
        state: Tensors by name.
        at: How the names of its tensors begin.
    """
    return f"{at}weight_generator.weight_tokens" in state


def refuse_dofa(state: Mapping[str, Tensor], backbone: str, source: str) -> None:
    """Refuse the checkpoint of a DOFA for a backbone without a generator.

    Raises:
        CheckpointError: It is one.
    """
    if has_generator(state):
        raise CheckpointError(
            f"{source} holds a DOFA, whose filters are made of wavelengths, not "
            f"model.backbone={backbone}; set model.backbone=dofa_vit_b16 or dofa_vit_l16"
        )


def generate(
    state: StateDict, embed: Callable[[int], Tensor], source: str, at: str = AT
) -> tuple[Tensor, Tensor]:
    """Take the generator out of a checkpoint; return its filters (D, C, p, p) and bias (D,).

    Args:
        state: Tensors as published; those of the generator are removed.
        embed: Embeds the bands in that many numbers each, (C, dim).
        source: The checkpoint; for messages.
        at: How the names of the generator's tensors begin.

    Raises:
        CheckpointError: Its generator is incomplete or damaged.
    """
    begin = (f"{at}weight_generator.", f"{at}fclayer.")
    own = {k.removeprefix(at): state.pop(k).float() for k in list(state) if k.startswith(begin)}
    check_numbers(own, source)
    at = "weight_generator."
    try:
        tokens, dim = own[f"{at}weight_tokens"].shape
        outputs, width = len(own[f"{at}fc_weight.weight"]), len(own[f"{at}fc_bias.weight"])
        hidden = len(own[f"{at}transformer_encoder.layers.0.linear1.weight"])
        generator = FilterGenerator(dim, tokens, hidden, outputs, width).eval()
        generator.load_state_dict(own)
    except (KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            f"{source} has no complete generator of filters; get the file again"
        ) from error
    with torch.no_grad():
        filters, bias = generator(embed(dim))
    return filters, bias


def sines(numbers: Tensor, dim: int) -> Tensor:
    """Return sines and cosines of wavelengths (C,) in nm, (C, dim), in single precision."""
    omega = torch.arange(dim // 2, dtype=torch.float32, device=numbers.device)
    omega = 1.0 / 10000 ** (omega / (dim / 2.0))
    angles = torch.outer(numbers, omega)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
