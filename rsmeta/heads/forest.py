"""Forests of decision trees on the features of a pixel."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsmeta.heads.base import HEADS, HeadInput
from rsmeta.heads.solved import SolvedHead, SolvedOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rsmeta.config.base import Strict

logger = logging.getLogger(__name__)

#: Pixels that go through a tree at once: their places in it stay in the processor's cache.
_AT_ONCE = 32768


class ForestOptions(SolvedOptions):
    """Options of forests."""

    trees: int = Field(default=100, ge=1, description="number of trees")
    least_leaf: int = Field(default=1, ge=1, description="labelled pixels of a leaf at least")
    max_depth: int | None = Field(default=None, ge=1, description="none: until leaves are pure")


@HEADS.register("forest")
class ForestHead(SolvedHead):
    """A random forest (Breiman 2001).

    Probabilities are scikit-learn's own, within 1e-6.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Of the forest.
    """

    Options: ClassVar[type[Strict]] = ForestOptions
    #: Name of the estimator in ``sklearn.ensemble``.
    estimator: ClassVar[str] = "RandomForestClassifier"

    split: Tensor
    threshold: Tensor
    below: Tensor
    shares: Tensor
    roots: Tensor

    def __init__(self, shape: HeadInput, classes: int, options: ForestOptions) -> None:
        super().__init__(shape, classes, options)
        self._options = options
        # One leaf, which knows nothing, until the forest is solved or loaded.
        self._take(
            np.zeros(1, np.int64), np.full(1, np.inf, np.float32), np.zeros((1, 2), np.int64),
            np.full((1, classes), 1 / classes, np.float32), np.zeros(1, np.int64),
        )  # fmt: skip

    def _take(
        self,
        split: np.ndarray,
        threshold: np.ndarray,
        below: np.ndarray,
        shares: np.ndarray,
        roots: np.ndarray,
    ) -> None:
        """Keep all trees as one table of nodes.

        Args:
            split: Feature that a node asks for, (M,) int64; 0 at leaves.
            threshold: A pixel goes left up to it, (M,) float32; infinite at leaves.
            below: Nodes to the left and right, (M, 2) int64; a leaf's is itself.
            shares: Shares of the classes at a leaf, (M, K) float32.
            roots: First node of each tree, (T,) int64.
        """
        self._trees: tuple[Tensor, Sequence[Any] | None] | None = None
        for name, array in (
            ("split", split), ("threshold", threshold), ("below", below),
            ("shares", shares), ("roots", roots),
        ):  # fmt: skip
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the mean shares of the leaves that pixels (N, F) come to, (N, K)."""
        parts = torch.split(features.float(), _AT_ONCE)
        trees = self._compiled() if features.device.type == "cpu" else None
        if trees is not None:
            with ThreadPoolExecutor(min(torch.get_num_threads(), max(len(parts), 1))) as pool:
                found = list(pool.map(lambda part: _mean_shares(trees, part), parts))
        else:
            found = [self._walk(part) for part in parts]
        return torch.cat(found) if found else self.shares.new_zeros(0, self.classes)

    def _compiled(self) -> Sequence[Any] | None:
        """Return the trees as scikit-learn's own, which walks them several times faster.

        None where this scikit-learn has other trees: how they are made is not public.
        """
        if self._trees is None or self._trees[0] is not self.threshold:
            tables = (self.split, self.threshold, self.below, self.shares, self.roots)
            arrays = [one.cpu().numpy() for one in tables]
            self._trees = self.threshold, _sklearn_trees(*arrays, features=self.dim)
        return self._trees[1]

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self._trees = None
        super()._load_from_state_dict(*args, **options)

    def _walk(self, features: Tensor) -> Tensor:
        """Return the mean shares of pixels (N, F), on any device."""
        values, dim = features.reshape(-1), features.shape[1]
        first = torch.arange(len(features), device=features.device) * dim
        total = self.shares.new_zeros(len(features), self.classes)
        children = self.below.reshape(-1)
        for root in self.roots.tolist():
            node = torch.full_like(first, root)
            while True:
                value = values.index_select(0, first + self.split.index_select(0, node))
                right = value > self.threshold.index_select(0, node)
                after = children.index_select(0, 2 * node + right)
                if torch.equal(after, node):
                    break
                node = after
            total += self.shares.index_select(0, node)
        return total / len(self.roots)

    def solve(
        self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
    ) -> str | None:
        """Grow the trees; groups do not matter to them."""
        from sklearn import ensemble  # takes its time

        chosen = self._options
        forest = getattr(ensemble, self.estimator)(
            n_estimators=chosen.trees, min_samples_leaf=chosen.least_leaf,
            max_depth=chosen.max_depth, class_weight="balanced", random_state=seed,
            n_jobs=None,  # threads of scikit-learn's lose the program's warning filters
        )  # fmt: skip
        forest.fit(features, labels)
        present = forest.classes_
        splits, thresholds, children, shares, roots, start = [], [], [], [], [], 0
        for tree in (grown.tree_ for grown in forest.estimators_):
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            pair = np.stack([tree.children_left, tree.children_right], axis=1)
            counts = tree.value[:, 0, :]
            share = np.zeros((tree.node_count, self.classes), np.float32)
            share[:, present] = counts / counts.sum(axis=1, keepdims=True)
            splits.append(np.where(leaf, 0, tree.feature))
            thresholds.append(np.where(leaf, np.inf, _rounded_down(tree.threshold)))
            children.append(np.where(leaf[:, None], own[:, None], pair) + start)
            shares.append(share)
            roots.append(start)
            start += tree.node_count
        self._take(
            np.concatenate(splits).astype(np.int64),
            np.concatenate(thresholds).astype(np.float32),
            np.concatenate(children).astype(np.int64), np.concatenate(shares),
            np.array(roots, np.int64),
        )  # fmt: skip
        return None

    def fit_shapes(self, state: Mapping[str, Tensor]) -> None:
        """Make room for as many nodes and trees as were saved."""
        for name in ("split", "threshold", "below", "shares", "roots"):
            if name in state:
                setattr(self, name, torch.empty_like(state[name]))


@HEADS.register("extra_trees")
class ExtraTreesHead(ForestHead):
    """Extremely randomised trees (Geurts et al. 2006): smoother than a forest, and quicker.

    Args:
        shape: What stands before the head.
        classes: Number of classes K.
        options: Of the forest.
    """

    estimator: ClassVar[str] = "ExtraTreesClassifier"


def _sklearn_trees(
    split: np.ndarray,
    threshold: np.ndarray,
    below: np.ndarray,
    shares: np.ndarray,
    roots: np.ndarray,
    *,
    features: int,
) -> list[Any] | None:
    """Return one tree of scikit-learn per root; arguments as of ``ForestHead._take``.

    They are made as scikit-learn reads them from its pickles. None, with a warning, where it has
    changed that.
    """
    trees = []
    try:
        from sklearn.tree._tree import NODE_DTYPE, Tree  # takes its time

        for first, end in zip(roots, [*roots[1:], len(split)], strict=True):
            pair = below[first:end] - first
            leaf = pair[:, 0] == np.arange(len(pair))
            nodes = np.zeros(len(pair), NODE_DTYPE)
            nodes["left_child"], nodes["right_child"] = np.where(leaf, -1, pair.T)
            nodes["feature"], nodes["threshold"] = split[first:end], threshold[first:end]
            tree = Tree(features, np.array([shares.shape[1]], np.intp), 1)
            values = np.ascontiguousarray(shares[first:end, None, :], np.float64)
            tree.__setstate__(
                {"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": values}
            )
            trees.append(tree)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        logger.warning(
            "this scikit-learn stores trees in another way (%s): forests map several times slower, "
            "with the same result; scikit-learn 1.7 to 1.9 is fast", error,
        )  # fmt: skip
        return None
    return trees


def _mean_shares(trees: Sequence[Any], features: Tensor) -> Tensor:
    rows = np.ascontiguousarray(features.numpy())
    total = sum(tree.predict(rows) for tree in trees)
    return torch.from_numpy(np.asarray(total / len(trees), np.float32))


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Return the largest float32 up to each threshold: float32 values fall on the same side."""
    near = thresholds.astype(np.float32)
    above = near.astype(np.float64) > thresholds
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near
