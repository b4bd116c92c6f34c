"""What can go wrong, as objects: every error a person may meet derives from `GeoBridgeError`.

    GeoBridgeError
    ├── PositionError      a latitude or longitude that cannot be one
    ├── ImageError         a picture that cannot be decoded
    ├── RasterError        a raster that cannot be placed on the ground
    ├── SourceError        a source of references that holds nothing we can read
    ├── PlacesError        a places data set that breaks its format
    ├── WorldError         a town, region or option the simulated planet does not have
    ├── ModelError         a checkpoint, preset or modality that does not fit
    │   └── TextTooLongError   a sentence longer than the tokenizer takes
    ├── TrainingError      a configuration, batch or run that training cannot go on with
    ├── EvaluationError    embeddings or a protocol that cannot be measured
    ├── CurationError      a stage of the data pipeline that cannot go on
    ├── GalleryError       a gallery that is missing, half-written or built by another model
    ├── QueryError         a query that cannot be asked
    └── MissingExtraError  an optional dependency that is not installed

Each message is one sentence: what happened, where, and what to do next. The command line
prints it and exits with 2.
"""


class GeoBridgeError(Exception):
    """Base of every error that is the input's or the environment's fault, not the program's."""


class PositionError(GeoBridgeError):
    """A latitude or longitude is missing, not finite, out of range or swapped."""


class ImageError(GeoBridgeError):
    """A picture is unreadable, truncated or larger than can be decoded safely."""


class RasterError(GeoBridgeError):
    """A raster has no usable coordinate system, transform or bands."""


class SourceError(GeoBridgeError):
    """A source of references does not exist, is empty or is of no known kind."""


class PlacesError(GeoBridgeError):
    """A places data set lacks a column, a file or a valid value."""


class WorldError(GeoBridgeError):
    """The simulated planet was asked for something it does not have."""


class ModelError(GeoBridgeError):
    """A checkpoint or preset does not fit, or the model lacks the modality asked for."""


class TextTooLongError(ModelError):
    """A sentence has more tokens than the text encoder takes."""


class TrainingError(GeoBridgeError):
    """A training configuration, its data or a run does not fit, or the loss is not finite."""


class EvaluationError(GeoBridgeError):
    """Embeddings are not finite, or no query has an answer to be ranked."""


class CurationError(GeoBridgeError):
    """A stage of the data pipeline lacks its input, or a provider cannot be used."""


class GalleryError(GeoBridgeError):
    """A gallery is missing, half-written, damaged or was built by another model."""


class QueryError(GeoBridgeError):
    """A query is empty, contradicts itself or names a file that cannot be used."""


class MissingExtraError(GeoBridgeError):
    """A feature needs packages that are not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: "
            f"install it with `pip install geobridge[{extra}]`."
        )
