"""A places data set: its pictures of one view, and its texts where they are asked for."""

from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path

from geobridge.gallery.sources.files import READ_SIDE_PX
from geobridge.gallery.sources.items import (
    NO_PICTURE,
    Image,
    ReferenceItem,
    Skipped,
    Source,
    reference_id,
)
from geobridge.imagery.decode import read_image
from geobridge.places.table import Place, iter_places
from geobridge.views import Modality, View


class PlacesSource(Source):
    """Places of all splits; with `text`, their descriptions are references too.

    Raises:
        PlacesError: the data set breaks its format.
    """

    kind = "places"

    def __init__(self, path: Path, view: View, *, text: bool) -> None:
        super().__init__(path, view)
        self.text = text
        self._places = list(iter_places(self.path))

    @property
    def settings(self) -> dict[str, float | int | bool | str]:
        """Whether texts are indexed."""
        return {"text": self.text}

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The view, and text where it is asked for."""
        return (self.view, "text") if self.text else (self.view,)

    def total(self) -> int:
        """One item a place, two where it has a description to index."""
        texts = sum(place.text is not None for place in self._places) if self.text else 0
        return len(self._places) + texts

    def items(self, done: Container[str] = frozenset()) -> Iterator[ReferenceItem | Skipped]:
        """Places in the order of their table: the picture, then the description."""
        for place in self._places:
            yield from self._picture(place, done)
            if self.text and place.text is not None:
                yield from self._description(place, place.text, done)

    def _picture(self, place: Place, done: Container[str]) -> Iterator[ReferenceItem | Skipped]:
        file: Path | None = getattr(place, self.view)
        path = "" if file is None else file.relative_to(self.path).as_posix()
        ref_id = reference_id(self.path, path, self.view, place.place_id)
        if ref_id in done:
            return
        if file is None:
            detail = f"place {place.place_id}"
            source = str(self.path)
            yield Skipped(ref_id, "skipped", NO_PICTURE, detail, self.view, source, path)
        else:
            load = partial(read_image, file, min_side=READ_SIDE_PX)
            yield self._item(ref_id, place, self.view, path, load)

    def _description(
        self, place: Place, text: str, done: Container[str]
    ) -> Iterator[ReferenceItem]:
        ref_id = reference_id(self.path, "", "text", place.place_id)
        if ref_id not in done:
            yield self._item(ref_id, place, "text", "", lambda: text)

    def _item(
        self,
        ref_id: str,
        place: Place,
        modality: Modality,
        path: str,
        load: Callable[[], Image | str],
    ) -> ReferenceItem:
        return ReferenceItem(
            ref_id=ref_id,
            modality=modality,
            lat=place.lat,
            lon=place.lon,
            footprint=place.footprint,
            source=str(self.path),
            path=path,
            load=load,
            place_id=place.place_id,
            text=place.text,
        )
