"""Which licences let anyone pass a changed picture on. What is not known does not.

Pictures of a place are cropped, turned and encoded again, so licences without derivatives (CC
BY-ND, CC BY-NC-ND) are not among them. Licences that ask for attribution, the same licence or no
commerce are: their conditions go along with each picture, in its row of `pictures.parquet`.

Identifiers after https://spdx.org/licenses; Etalab's after https://www.etalab.gouv.fr/licence-ouverte.
"""

import re

REDISTRIBUTABLE = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "public-domain": "https://creativecommons.org/publicdomain/mark/1.0/",
    "pddl": "https://opendatacommons.org/licenses/pddl/",
    "cc-by": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-sa": "https://creativecommons.org/licenses/by-sa/4.0/",
    "cc-by-nc": "https://creativecommons.org/licenses/by-nc/4.0/",
    "cc-by-nc-sa": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "odc-by": "https://opendatacommons.org/licenses/by/",
    "odbl": "https://opendatacommons.org/licenses/odbl/",
    "etalab": "https://www.etalab.gouv.fr/licence-ouverte",
    "ogl-uk": "https://www.nationalarchives.gov.uk/doc/open-government-licence/",
    "dl-de-by": "https://www.govdata.de/dl-de/by-2-0",
    "dl-de-zero": "https://www.govdata.de/dl-de/zero-2-0",
}
"""Families of licences, whatever their version, and where their terms are."""

_OTHER_NAMES = {
    "pd": "public-domain",
    "pdm": "public-domain",
    "cc-pdm": "public-domain",
    "cc-0": "cc0",
    "cc-zero": "cc0",
    "publicdomain-zero": "cc0",
    "publicdomain-mark": "public-domain",
    "licence-ouverte": "etalab",
    "lov2": "etalab",
    "lo-ol": "etalab",
    "ogl": "ogl-uk",
}

_CREATIVE_COMMONS = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/.*)?"
)
_VERSION = re.compile(r"-v?\d+(-\d+)*(-[a-z]{2,4})?$")


def family_of(licence: object) -> str | None:
    """The family a licence is of, `cc-by` for "CC BY 4.0", or None where it is none we know.

    Args:
        licence: an SPDX identifier, the usual short name or Creative Commons' address, in any
            case; what is no text is no licence.
    """
    name = licence.strip().lower() if isinstance(licence, str) else ""
    if address := _CREATIVE_COMMONS.fullmatch(name):
        kind, letters = address.groups()
        name = f"cc-{letters}" if kind == "licenses" else f"publicdomain-{letters}"
    name = re.sub(r"[\s_.-]+", "-", name)
    name = _VERSION.sub("", name)
    name = _OTHER_NAMES.get(name, name)
    return name if name in REDISTRIBUTABLE else None


def may_be_redistributed(licence: object) -> bool:
    """Whether anyone may pass on a picture of this licence after changing it."""
    return family_of(licence) is not None
