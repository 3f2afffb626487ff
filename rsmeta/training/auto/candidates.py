"""What ``model: auto`` tries and by which rule it chooses, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from rsmeta.config.model import AUTO, FORMER_DEFAULT, HeadSpec, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rsmeta.geo.bands import Band

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
        standard_errors: What is better than the usual choice by more than so many standard errors
            of the difference takes its place; without a usual choice, the simplest wins that is
            worse than the best by no more than that.
        gain: By how much macro F1 it must be better at least.
        groups: Groups per class, on average, without which the usual choice keeps its place.
        averages: So many of the best candidates are averaged.
        bootstrap: Draws of groups for the standard errors.
    """

    folds: int = 5
    repeats: int = 2
    pixels: int = 2000
    chips: int = 200
    standard_errors: float = 2.0
    gain: float = 0.01
    groups: int = 8
    averages: tuple[int, ...] = (2, 3)
    bootstrap: int = 300

    def for_groups(self, groups: float) -> Rule:
        """Return the rule for so many groups per class: few change nothing, and once is enough."""
        return self if groups >= self.groups else replace(self, repeats=1)


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


#: What heads are called.
TITLES = {
    "logistic": "logistic regression",
    "lda": "discriminant analysis",
    "forest": "random forest",
    "extra_trees": "extra-trees",
    "mlp": "perceptron",
}

Single: TypeAlias = "tuple[str, Mapping[str, Any], Mapping[str, Any]]"

#: Within an average, 50 trees are as good as 100, and map twice as fast.
_TREES = {"trees": 50}

#: Candidates on bands, simplest first: head, its options, options of ``pixels``.
TRIED: tuple[Single, ...] = (
    ("logistic", {"strength": 1.0}, {}),
    ("extra_trees", _TREES, {}),
    ("logistic", {"strength": 1.0}, {"ratios": True}),
    ("lda", {}, {"ratios": True}),
    ("lda", {}, {"context": (3, 7)}),
    ("logistic", {"strength": 1.0}, {"ratios": "local", "context": (3, 7), "deviations": False}),
    ("extra_trees", _TREES, {"ratios": True, "context": (3, 7)}),
)

#: Those of ``TRIED`` whose average is the usual choice: of all fixed models the best on the tasks
#: of ``benchmarks/few_labels.md``, so that another one must be clearly better to take its place.
USUAL = TRIED[2:]

#: With more bands than this their pairs would be too many features, and ``ratios`` is omitted.
MOST_BANDS = 16

#: The same where there are more bands than that, on which trees and deviations do harm.
TRIED_MANY: tuple[Single, ...] = (
    ("logistic", {"strength": 0.1}, {}),
    ("extra_trees", _TREES, {}),
    ("lda", {}, {}),
    ("lda", {}, {"context": (3, 7), "deviations": False}),
)
USUAL_MANY = (TRIED_MANY[0], *TRIED_MANY[2:])

#: Features on which a head is tried that the user names.
OF_HEAD: tuple[Mapping[str, Any], ...] = ({}, {"ratios": True}, {"context": (3, 7)})


def _single(one: Single, bands: Sequence[Band], complexity: int) -> Candidate:
    name, head_options, given = one
    options = dict(given)
    if not 1 < len(bands) <= MOST_BANDS:
        options.pop("ratios", None)
    features = ["bands"] + ["ratios"] * ("ratios" in options)
    if "context" in options:
        features.append("surroundings" if options.get("deviations", True) else "local means")
    if options.get("ratios") == "local":
        features.append("their ratios")
    head = HeadSpec(name=name, **head_options)
    title = f"{TITLES.get(name, name)} on {' + '.join(features)}"
    model = ModelSpec(backbone="pixels", options=options, head=head)
    return Candidate(title, model, complexity, _variants(head))


def _singles(tried: Sequence[Single], bands: Sequence[Band]) -> list[Candidate]:
    """Return candidates that differ, simplest first."""
    found = [_single(one, bands, number) for number, one in enumerate(tried)]
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def usual_names(model: ModelSpec, bands: Sequence[Band]) -> tuple[str, ...]:
    """Return the names of the candidates whose average is the usual choice; none if there is none.

    Args:
        model: ``backbone=auto`` or ``zoom=auto``.
        bands: Bands of the scenes.
    """
    if model.backbone != AUTO or model.head.name != AUTO:
        return ()
    usual = USUAL if len(bands) <= MOST_BANDS else USUAL_MANY
    return tuple(one.name for one in _singles(usual, bands))


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
        tried = TRIED if len(bands) <= MOST_BANDS else TRIED_MANY
        if model.head.name != AUTO:
            tried = tuple((model.head.name, model.head.options, one) for one in OF_HEAD)
        own = _singles(tried, bands)
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
            head = TITLES.get(spec.head.name, spec.head.name)
            of_run = spec.checkpoint if spec.backbone == FORMER_DEFAULT else None
            name = f"{head} on {of_run or spec.backbone}" + (f", zoom {zoom}" if zoom > 1 else "")
            yield Candidate(name, spec, first + number, _variants(spec.head))
