import base64

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import ImageError
from geobridge.imagery.decode import read_image
from geobridge.imagery.inline import data_uri, fitted_size


def test_the_longer_side_is_reduced_and_none_enlarged():
    assert fitted_size(4096, 2048, 1024) == (1024, 512)
    assert fitted_size(300, 400, 200) == (150, 200)
    assert fitted_size(100, 50, 512) == (100, 50)
    assert fitted_size(5000, 1, 100) == (100, 1)


def test_a_picture_becomes_a_jpeg_within_a_uri(tmp_path):
    Image.fromarray(np.full((40, 80, 3), (200, 30, 60), np.uint8)).save(tmp_path / "a.png")

    uri = data_uri(tmp_path / "a.png", 20)

    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    image = read_image(base64.b64decode(data))
    assert image.shape == (10, 20, 3)
    assert abs(image.astype(int) - (200, 30, 60)).max() < 8
    assert data_uri(tmp_path / "a.png", 20) == uri


def test_what_is_no_picture_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")

    with pytest.raises(ImageError, match=r"a\.jpg is not a picture"):
        data_uri(tmp_path / "a.jpg", 20)
