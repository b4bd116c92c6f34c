"""What is to be located, and how it becomes embeddings that a gallery can be asked with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from geobridge.errors import PositionError, QueryError
from geobridge.geo.photos import PhotoMetadata, ground_width_m, read_photo_metadata
from geobridge.imagery.decode import read_image
from geobridge.imagery.preprocess import Preprocess
from geobridge.imagery.rotate import center_crop, center_square, rotate
from geobridge.imagery.street import street_field
from geobridge.model.fusion import fuse
from geobridge.model.geobridge import GeoBridge
from geobridge.views import MODALITIES, VIEWS, Modality, View

Picture = str | Path | NDArray[np.uint8]

ROTATIONS = 8
"""How many headings of a drone photo are tried where its heading is not known."""

# Pictures are read and turned at no more than this many times the size the model sees: the
# last, antialiased step down then still decides what it sees.
_OVERSAMPLING = 2
# Pictures in one forward pass: what 16 photos at 8 headings make.
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Query:
    """One or more modalities of one unknown place. What is given is fused into one question.

    Attributes:
        drone: a photo from above, a path or uint8 (H, W, 3) RGB. What is located is the ground
            at its centre, not the aircraft.
        street: a street-level photo or panorama.
        satellite: a north-up crop of satellite or aerial imagery.
        text: a sentence that describes the place.
        yaw_deg: heading of the drone photo's top edge, clockwise from north, if known. The photo
            is then turned north-up once; otherwise several headings are tried.
        fov_deg: horizontal field of view of the street picture, in (0, 360]; read from its
            metadata or guessed from its shape where None.
        panorama: whether the street picture is a 360-degree panorama; likewise.
        ground_width_m: width on the ground of the drone photo (of the satellite crop where there
            is no drone photo). The centre is cut to the footprints of the gallery. Where None, it
            is read from the metadata of a drone photo that looks straight down.

    Raises:
        QueryError: nothing is given, or what is given contradicts itself.
    """

    drone: Picture | None = None
    street: Picture | None = None
    satellite: Picture | None = None
    text: str | None = None
    yaw_deg: float | None = None
    fov_deg: float | None = None
    panorama: bool | None = None
    ground_width_m: float | None = None

    def __post_init__(self) -> None:
        if not self.modalities:
            raise QueryError(
                "The query is empty: give it a drone photo, a street picture, a satellite crop "
                "or a text."
            )
        if self.text is not None and not self.text.strip():
            raise QueryError("The query's text is blank: describe the place, or leave it out.")
        for view in VIEWS:
            _check_picture(view, getattr(self, view))
        self._check_numbers()

    def _check_numbers(self) -> None:
        if self.yaw_deg is not None:
            if self.drone is None:
                raise QueryError("yaw_deg turns a drone photo: give one, or leave yaw_deg out.")
            if not math.isfinite(self.yaw_deg):
                raise QueryError(f"yaw_deg must be a number of degrees, not {self.yaw_deg}.")
        if self.fov_deg is not None and not 0 < self.fov_deg <= 360:
            raise QueryError(f"fov_deg must be above 0 and at most 360, not {self.fov_deg}.")
        if self.street is None and not (self.fov_deg is None and self.panorama is None):
            raise QueryError("fov_deg and panorama describe a street picture: give one.")
        if self.ground_width_m is not None:
            if self.drone is None and self.satellite is None:
                raise QueryError("ground_width_m describes a drone or satellite picture: give one.")
            if not (math.isfinite(self.ground_width_m) and self.ground_width_m > 0):
                raise QueryError(f"ground_width_m must be above 0, not {self.ground_width_m}.")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the query consists of, in the order of `geobridge.views.MODALITIES`."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)


def _check_picture(view: View, picture: Picture | None) -> None:
    if not isinstance(picture, np.ndarray):
        return
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise QueryError(
            f"The query's {view} picture must be uint8 (height, width, 3) RGB, it is "
            f"{picture.dtype} {picture.shape}: convert it, or give its path."
        )


@dataclass(frozen=True)
class PreparedQuery:
    """A query read, cut, turned and resized: all that is left is the forward pass.

    Attributes:
        pictures: uint8 (V or 1, 3, H, W) by view; V variants of a drone photo, 1 of the others.
        text: the sentence, or None.
        yaws_deg: (V,) the heading each variant assumes; (None,) where no heading plays a part.
    """

    pictures: dict[View, torch.Tensor]
    text: str | None
    yaws_deg: tuple[float | None, ...]


def prepare_query(
    query: Query, model: GeoBridge, *, footprint_m: float, rotations: int = ROTATIONS
) -> PreparedQuery:
    """Read a query's pictures and bring them into the form the model takes.

    Args:
        query: what is to be located.
        model: the one it will be embedded by.
        footprint_m: side of the gallery's footprints. A nadir picture of known ground width is
            cut to it about its centre; a smaller one is left as it is, never enlarged.
        rotations: headings tried for a drone photo of unknown heading, evenly spaced; >= 1.

    Raises:
        ModelError: the model lacks a modality of the query.
        ImageError: a picture cannot be read.
        QueryError: `rotations` is below 1.
    """
    if rotations < 1:
        raise QueryError(f"rotations must be at least 1, not {rotations}.")
    pictures: dict[View, torch.Tensor] = {}
    yaws_deg: tuple[float | None, ...] = (None,)
    for modality in query.modalities:
        model.require(modality)
    if query.drone is not None:
        yaws_deg = _headings(query, rotations)
        pictures["drone"] = _prepare_drone(query, model, footprint_m, yaws_deg)
    if query.street is not None:
        pictures["street"] = _prepare_street(query, model)
    if query.satellite is not None:
        pictures["satellite"] = _prepare_satellite(query, model, footprint_m)
    return PreparedQuery(pictures, query.text, yaws_deg)


def embed_query(
    query: Query, model: GeoBridge, *, footprint_m: float, rotations: int = ROTATIONS
) -> NDArray[np.float32]:
    """Embeddings (V, D) of a query, unit norm: one row for each heading tried.

    A drone photo is turned so that each heading in turn would make it north-up; every row is
    fused with the query's other modalities. Arguments and errors are those of `prepare_query`.
    """
    prepared = prepare_query(query, model, footprint_m=footprint_m, rotations=rotations)
    return embed_prepared_queries([prepared], model)[0]


def embed_prepared_queries(
    queries: Sequence[PreparedQuery], model: GeoBridge
) -> list[NDArray[np.float32]]:
    """Embeddings (V, D) of each query; each modality of all of them goes through in batches.

    Raises:
        TextTooLongError: a sentence has more tokens than the model takes.
    """
    parts: list[dict[str, NDArray[np.float32]]] = [{} for _ in queries]
    for view in VIEWS:
        having = [i for i, query in enumerate(queries) if view in query.pictures]
        rows = _embed_pictures(model, view, [queries[i].pictures[view] for i in having])
        for i, embedding in zip(having, rows, strict=True):
            parts[i][view] = embedding
    having = [i for i, query in enumerate(queries) if query.text is not None]
    if having:
        sentences = model.embed("text", [str(queries[i].text) for i in having])
        for i, row in zip(having, sentences, strict=True):
            parts[i]["text"] = row[None]
    return [
        _fuse(embeddings, len(query.yaws_deg))
        for embeddings, query in zip(parts, queries, strict=True)
    ]


def _fuse(embeddings: dict[str, NDArray[np.float32]], variants: int) -> NDArray[np.float32]:
    """One row per variant, (V, D); a modality with a single row joins all of them."""
    full = {
        name: np.broadcast_to(rows, (variants, rows.shape[1])) for name, rows in embeddings.items()
    }
    return fuse(full)


def _embed_pictures(
    model: GeoBridge, view: View, pictures: list[torch.Tensor]
) -> list[NDArray[np.float32]]:
    """Embeddings of each query's pictures of one view, forwarded in batches."""
    if not pictures:
        return []
    batch = torch.cat(pictures)
    parts = (batch[start : start + _BATCH] for start in range(0, len(batch), _BATCH))
    rows = np.concatenate([model.embed_prepared(view, part) for part in parts])
    return np.split(rows, np.cumsum([len(part) for part in pictures])[:-1])


def _headings(query: Query, rotations: int) -> tuple[float, ...]:
    if query.yaw_deg is not None:
        return (query.yaw_deg % 360,)
    return tuple(i * 360 / rotations for i in range(rotations))


def _prepare_drone(
    query: Query, model: GeoBridge, footprint_m: float, yaws_deg: Sequence[float | None]
) -> torch.Tensor:
    """Tensor uint8 (V, 3, H, W): the photo turned north-up under each assumed heading."""
    assert query.drone is not None  # noqa: S101 - the caller has looked
    metadata = _metadata_of(query.drone)
    width_m = query.ground_width_m
    if width_m is None and metadata is not None:
        width_m = ground_width_m(metadata)
    image, side = _read_nadir(query.drone, metadata, _canvas_px(model, "drone"),
                              footprint_m, width_m)  # fmt: skip
    # What lies farther from the centre than this is not seen at any angle.
    image = center_crop(image, math.ceil(side * math.sqrt(2)) + 2)
    turned = turn_each(image, [yaw or 0.0 for yaw in yaws_deg], side, _canvas_px(model, "drone"))
    return torch.stack([model.prepare("drone", picture) for picture in turned])


def turn_each(
    image: NDArray[np.uint8], angles_deg: Sequence[float], side: int, size: int
) -> list[NDArray[np.uint8]]:
    """The centred square of `side` pixels after turning a picture clockwise by each angle.

    Angles that differ by quarter turns share the interpolation and the resize to `size` pixels,
    which are what turning costs.
    """
    squares: dict[float, NDArray[np.uint8]] = {}
    turned = []
    for angle in angles_deg:
        quarters, rest = divmod(angle % 360, 90)
        if rest not in squares:
            square = center_square(rotate(image, rest), side)
            squares[rest] = Preprocess(size, size).prepare(square).permute(1, 2, 0).numpy()
        turned.append(np.ascontiguousarray(np.rot90(squares[rest], -int(quarters))))
    return turned


def _prepare_satellite(query: Query, model: GeoBridge, footprint_m: float) -> torch.Tensor:
    assert query.satellite is not None  # noqa: S101 - the caller has looked
    canvas_px = _canvas_px(model, "satellite")
    if query.drone is not None or query.ground_width_m is None:
        return model.prepare("satellite", _read(query.satellite, canvas_px))[None]
    image, side = _read_nadir(query.satellite, _metadata_of(query.satellite), canvas_px,
                              footprint_m, query.ground_width_m)  # fmt: skip
    return model.prepare("satellite", center_square(image, side))[None]


def _prepare_street(query: Query, model: GeoBridge) -> torch.Tensor:
    assert query.street is not None  # noqa: S101 - the caller has looked
    image = _read(query.street, _canvas_px(model, "street"))
    height, width = image.shape[:2]
    metadata = _metadata_of(query.street)
    field = street_field(width, height, metadata, fov_deg=query.fov_deg, panorama=query.panorama)
    return model.prepare("street", image, field)[None]


def _canvas_px(model: GeoBridge, view: View) -> int:
    """Longer side of what the model sees of a view."""
    canvas = model.config.preprocess[view]
    return max(canvas.height, canvas.width)


def _read(picture: Picture, min_side: int) -> NDArray[np.uint8]:
    return picture if isinstance(picture, np.ndarray) else read_image(picture, min_side=min_side)


def _metadata_of(picture: Picture) -> PhotoMetadata | None:
    if isinstance(picture, np.ndarray):
        return None
    try:
        return read_photo_metadata(picture)
    except PositionError:
        # Where the photo claims to be is not asked for here; that it is wrong stops nothing.
        return None


def _read_nadir(
    picture: Picture,
    metadata: PhotoMetadata | None,
    canvas_px: int,
    footprint_m: float,
    width_m: float | None,
) -> tuple[NDArray[np.uint8], int]:
    """A nadir picture, no larger than is of use, and the side in pixels of what to show of it.

    The side is that of one footprint on the ground where the picture's width there is known,
    and never more than the picture's shorter side.
    """
    wanted_px = _OVERSAMPLING * canvas_px
    min_side = wanted_px
    if width_m is not None and metadata is not None and metadata.width and metadata.height:
        shorter_m = width_m * min(1.0, metadata.height / metadata.width)
        min_side = math.ceil(wanted_px * max(1.0, shorter_m / footprint_m))
    image = _read(picture, min_side)
    height, width = image.shape[:2]
    side = min(height, width)
    if width_m is not None:
        side = max(1, min(side, round(footprint_m * width / width_m)))
    times = side // wanted_px
    if times > 1:
        image = np.asarray(Image.fromarray(image).reduce(times))
        side = min(side // times, *image.shape[:2])
    return image, side
