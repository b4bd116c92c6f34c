"""The words everything else is built from: view, modality, direction."""

from dataclasses import dataclass
from typing import Literal, get_args

View = Literal["drone", "street", "satellite"]
"""Where a picture was taken from."""

Modality = Literal["drone", "street", "satellite", "text"]
"""A view, or the words that describe a place."""

VIEWS: tuple[View, ...] = get_args(View)
MODALITIES: tuple[Modality, ...] = get_args(Modality)

# Letters of the papers: P is the street *panorama*, S the satellite.
LETTERS: dict[str, Modality] = {"D": "drone", "P": "street", "S": "satellite", "T": "text"}


@dataclass(frozen=True, order=True)
class Direction:
    """From the modality of a query to the modality of the references it is looked up in."""

    query: Modality
    reference: Modality

    @classmethod
    def parse(cls, text: str) -> "Direction":
        """Read `drone_to_satellite` or its short form `D2S`.

        Raises:
            ValueError: the text names no direction; the message lists the words there are.
        """
        query, separator, reference = text.partition("_to_" if "_to_" in text else "2")
        modalities = [LETTERS.get(word.upper(), word.lower()) for word in (query, reference)]
        if not separator or any(word not in MODALITIES for word in modalities):
            raise ValueError(
                f"{text!r} is not a direction: write one like 'drone_to_satellite' or 'D2S' "
                f"(D drone, P street, S satellite, T text)."
            )
        return cls(*modalities)  # type: ignore[arg-type]

    @property
    def short(self) -> str:
        """The short form of the papers, such as `D2S`."""
        letter = {modality: name for name, modality in LETTERS.items()}
        return f"{letter[self.query]}2{letter[self.reference]}"

    def __str__(self) -> str:
        return f"{self.query}_to_{self.reference}"


NINE_DIRECTIONS: tuple[Direction, ...] = tuple(
    Direction.parse(word)
    for word in ("D2S", "S2D", "D2P", "P2D", "P2S", "S2P", "T2D", "T2S", "T2P")
)
"""The directions of the GeoBridge paper: views both ways, and text as a query."""
