"""Cut-offs for the scores of a model, which may not know the land it is shown.

What is a low score on land that a model knows is an ordinary one on land that it does not. So a
cut-off is lowered until it takes no more than a stated share: what is left out then is the worst of
it, and how much a fixed cut-off would have taken can be told.
"""

import bisect

import numpy as np
from numpy.typing import NDArray


def capped(
    scores: NDArray[np.float64], least: NDArray[np.float64], most: float
) -> NDArray[np.float64]:
    """Cut-offs that reject at most a share of the rows.

    Where the least scores asked for would reject more, each cut-off is lowered to the score of
    the same rank, the highest rank at which the rows below any cut-off are few enough.

    Args:
        scores: (N, G), a column a gate; NaN where a row was not judged, which rejects nothing.
        least: (G,), what is asked for.
        most: share of the rows with any score, 0..1.

    Returns:
        float64 (G,), none above `least`; what is below its cut-off is rejected.
    """
    judged = scores[~np.isnan(scores).all(axis=1)]
    allowed = int(most * len(judged) + 1e-9)
    ordered = np.sort(np.where(np.isnan(judged), np.inf, judged), axis=0)
    ordered = np.concatenate([ordered, np.full((1, len(least)), np.inf)])

    def at(rank: int) -> NDArray[np.float64]:
        cut_offs: NDArray[np.float64] = np.minimum(least, ordered[rank])
        return cut_offs

    def rejected(rank: int) -> int:
        return int((judged < at(rank)).any(axis=1).sum())

    # The lowest score of each gate is below none of them, so the first rank rejects nothing.
    return at(bisect.bisect_right(range(len(ordered)), allowed, key=rejected) - 1)
