import pytest

from geobridge.curation.licences import REDISTRIBUTABLE, family_of, may_be_redistributed


@pytest.mark.parametrize(
    ("licence", "family"),
    [
        ("CC0-1.0", "cc0"),
        ("CC0", "cc0"),
        ("cc zero", "cc0"),
        ("CC-BY-4.0", "cc-by"),
        ("CC BY 4.0", "cc-by"),
        ("cc_by_4.0", "cc-by"),
        ("CC-BY-SA-4.0", "cc-by-sa"),
        ("CC BY-SA 3.0 IGO", "cc-by-sa"),
        ("CC-BY-NC-4.0", "cc-by-nc"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa"),
        ("https://creativecommons.org/licenses/by/4.0/", "cc-by"),
        ("http://creativecommons.org/licenses/by-sa/3.0/deed.de", "cc-by-sa"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
        ("Public Domain", "public-domain"),
        ("PDDL-1.0", "pddl"),
        ("ODbL-1.0", "odbl"),
        ("ODC-By-1.0", "odc-by"),
        ("etalab-2.0", "etalab"),
        ("Licence Ouverte 2.0", "etalab"),
        ("OGL-UK-3.0", "ogl-uk"),
        ("dl-de-by-2.0", "dl-de-by"),
    ],
)
def test_open_licences_are_known_by_their_usual_names(licence, family):
    assert family_of(licence) == family
    assert may_be_redistributed(licence)


@pytest.mark.parametrize(
    "licence",
    [
        None,
        float("nan"),
        "",
        "proprietary",
        "all rights reserved",
        "Google Maps Platform terms",
        # Crops are derivatives.
        "CC-BY-ND-4.0",
        "CC BY-NC-ND 4.0",
        "https://creativecommons.org/licenses/by-nd/4.0/",
        "cc",
        "various",
        "not CC-BY-4.0",
        "https://example.org/creativecommons.org/licenses/by/4.0/",
    ],
)
def test_what_is_not_known_to_be_open_is_not(licence):
    assert family_of(licence) is None
    assert not may_be_redistributed(licence)


def test_every_family_is_its_own_name():
    assert [family_of(name) for name in REDISTRIBUTABLE] == list(REDISTRIBUTABLE)
