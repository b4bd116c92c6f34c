"""A curation as data: one YAML file with a table for each stage.

Paths are relative to the folder in which the command runs, as they are on its command line.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from geobridge.curation.clean import CleanConfig
from geobridge.curation.crop import CropConfig
from geobridge.curation.describe import DescribeConfig
from geobridge.curation.publish import PublishConfig
from geobridge.curation.satellite import SatelliteConfig
from geobridge.curation.seeds import SeedsConfig
from geobridge.curation.street import StreetConfig
from geobridge.errors import CurationError, MissingExtraError
from geobridge.model.config import Settings, parse_settings

try:
    from geobridge.model.yaml_files import read_yaml
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Curation", "pyyaml", "curate") from error


class CurateConfig(Settings):
    """Settings of all stages, in their order.

    Attributes:
        seeds: which orthomosaics.
        street: which panoramas.
        crop: how drone pictures are cut around them.
        clean: what is left out.
        satellite: where satellite pictures come from; without it places have none.
        describe: who describes places; without it places have no text.
        publish: what comes out.
    """

    seeds: SeedsConfig
    street: StreetConfig = StreetConfig()
    crop: CropConfig = CropConfig()
    clean: CleanConfig = CleanConfig()
    satellite: SatelliteConfig | None = None
    describe: DescribeConfig | None = None
    publish: PublishConfig = PublishConfig()

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        if self.clean.ground and not self.crop.turn_north:
            raise ValueError(
                "`clean.ground` compares panoramas that are turned north, and `crop.turn_north` "
                "is false: leave one of them out."
            )
        return self


def read_curate_config(path: str | Path) -> CurateConfig:
    """Read a configuration.

    Raises:
        CurationError: the file is missing or no YAML, or a value does not fit; says which.
    """
    return parse_curate_config(read_yaml(Path(path), "curation", CurationError), str(path))


def parse_curate_config(data: Any, where: str) -> CurateConfig:
    """Check settings; `where` names them in the error.

    Raises:
        CurationError: the first thing that is wrong, and where.
    """
    return parse_settings(CurateConfig, data, CurationError, f"{where} is no curation")
