"""What ``model: auto`` tries and by which rule it chooses, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rsmeta.config.model import AUTO, HeadSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.geo.bands import Band

#: Sides of the squares around a pixel whose mean and deviation stand beside it.
NEAR, AROUND = (3,), (3, 7)

#: With more bands than this their pairs would be too many features.
MANY_BANDS = 16

#: Strengths of the penalty that logistic regression tries, as scikit-learn's ``C``.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

#: Zooms of a frozen backbone.
ZOOMS = (1, 2, 4)


@dataclass(frozen=True)
class Rule:
    """How much is cross-validated, and what wins.

    Attributes:
        folds: Groups of polygons that are held out in turn.
        repeats: Such divisions, each with other groups.
        pixels: Labelled pixels that take part at most.
        chips: Chips that a backbone sees of them at most.
        standard_errors: A simpler candidate wins if it is worse by no more than so many standard
            errors of the difference.
        members: Candidates, best first, of which averages of two are tried.
        bootstrap: Draws of groups for the standard errors.
    """

    folds: int = 5
    repeats: int = 2
    pixels: int = 3000
    chips: int = 200
    standard_errors: float = 1.0
    members: int = 6
    bootstrap: int = 300


RULE = Rule()


@dataclass(frozen=True)
class Candidate:
    """A model to try.

    Attributes:
        name: As the table shows it.
        model: Backbone, options and head.
        complexity: The simpler one has less.
        variants: Options of the head that are tried; the one with the least loss stands for all.
    """

    name: str
    model: ModelSpec
    complexity: int
    variants: tuple[Mapping[str, Any], ...] = field(default=({},))


#: What features are called, and the options of ``pixels`` that make them.
INPUTS: Mapping[str, Mapping[str, Any]] = {
    "bands": {},
    "bands and ratios": {"ratios": True},
    "bands and neighbours": {"context": NEAR},
    "bands and surroundings": {"context": AROUND},
}

#: What heads are called, and how they are named in settings.
TITLES = {
    "logistic regression": "logistic",
    "discriminant analysis": "lda",
    "random forest": "forest",
    "extra-trees": "extra_trees",
    "perceptron": "mlp",
}

#: Candidates on bands, simplest first.
TRIED = (
    ("logistic regression", "bands"),
    ("logistic regression", "bands and ratios"),
    ("discriminant analysis", "bands and surroundings"),
    ("extra-trees", "bands"),
    ("extra-trees", "bands and ratios"),
    ("extra-trees", "bands and neighbours"),
    ("perceptron", "bands"),
)

#: Taken where nothing can be held out, the first one that suits the bands.
USUAL = ("logistic regression on bands and ratios", "logistic regression on bands")


def band_candidates(bands: Sequence[Band]) -> list[Candidate]:
    """Return classifiers of bands, simplest first.

    Args:
        bands: Bands of the scenes.
    """
    found: list[Candidate] = []
    for title, features in TRIED:
        options = INPUTS[features]
        if options.get("ratios") and not 1 < len(bands) <= MANY_BANDS:
            continue
        head = HeadSpec(name=TITLES[title])
        model = ModelSpec(backbone="pixels", options=dict(options), head=head)
        found.append(Candidate(f"{title} on {features}", model, len(found), _variants(head)))
    return found


def _variants(head: HeadSpec) -> tuple[Mapping[str, Any], ...]:
    """Return the options that are tried of a head."""
    if head.name == "logistic" and head.options.get("strength", "auto") == "auto":
        return tuple({"strength": strength} for strength in STRENGTHS)
    return ({},)


def candidates_of(model: ModelSpec, bands: Sequence[Band]) -> list[Candidate]:
    """Return the candidates of open settings: for the backbone, or for the zoom of a given one.

    Args:
        model: ``backbone=auto``, or ``zoom=auto``.
        bands: Bands of the scenes.
    """
    if model.backbone == AUTO:
        own = band_candidates(bands)
        return [*own, *user_candidates(model.candidates, first=len(own))]
    probe = model.model_copy(update={"head": HeadSpec(name="logistic")})
    return [
        replace(one, name=f"zoom {one.model.zoom}") for one in user_candidates([probe], first=0)
    ]


def user_candidates(models: Sequence[ModelSpec], first: int) -> Iterator[Candidate]:
    """Yield the candidates that a user names, at each zoom.

    Args:
        models: As ``model.candidates`` has them.
        first: Complexity of the first.
    """
    for number, model in enumerate(models):
        for zoom in ZOOMS if model.zoom == "auto" else (model.fixed_zoom,):
            spec = model.model_copy(update={"zoom": zoom})
            titles = {name: title for title, name in TITLES.items()}
            head = titles.get(spec.head.name, spec.head.name)
            name = f"{head} on {spec.backbone}" + (f", zoom {zoom}" if zoom > 1 else "")
            yield Candidate(name, spec, first + number, _variants(spec.head))
