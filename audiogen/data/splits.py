"""Splits by what is said, so that no held-out sentence has a near twin in training."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from difflib import SequenceMatcher


def words_of(text: str) -> tuple[str, ...]:
    """Lower-case words of a text, without punctuation."""
    return tuple(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower()))


def near_duplicates(a: tuple[str, ...], b: tuple[str, ...], threshold: float = 0.7) -> bool:
    """Whether two word sequences share most of their words in order, or the shorter is most of the longer."""
    if 2 * min(len(a), len(b)) < threshold * (len(a) + len(b)):  # the ratio cannot reach the threshold
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= threshold


def cluster_texts(texts: Mapping[str, str]) -> list[list[str]]:
    """Group ids whose texts are near duplicates, transitively; groups and members in a stable order."""
    ids = sorted(texts)
    words = {name: words_of(texts[name]) for name in ids}
    group = {name: name for name in ids}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for i, a in enumerate(ids):
        for b in ids[:i]:
            if near_duplicates(words[a], words[b]):
                group[root(a)] = root(b)
    clusters: dict[str, list[str]] = {}
    for name in ids:
        clusters.setdefault(root(name), []).append(name)
    return list(clusters.values())


def held_out_prompts(
    texts: Mapping[str, str], fraction: float = 0.05, min_words: int = 3, seed: int = 0
) -> tuple[list[str], set[str]]:
    """Choose test prompts -> (ids to test on, ids to keep out of training).

    Whole clusters of near duplicates are drawn until one prompt of each makes up `fraction` of all prompts;
    the first of a cluster is tested, its twins are only kept out. Prompts of fewer than `min_words` words
    stay in training.
    """
    clusters = [c for c in cluster_texts(texts) if min(len(words_of(texts[name])) for name in c) >= min_words]
    random.Random(seed).shuffle(clusters)
    wanted = max(1, round(fraction * len(texts)))
    chosen = sorted(clusters[:wanted])
    return [cluster[0] for cluster in chosen], {name for cluster in chosen for name in cluster}
