"""Every kind of picture file decodes to upright RGB, or to one error that names it."""

import io
import struct
import zlib

import numpy as np
import pytest
import rasterio
import simplejpeg
from PIL import Image
from rasterio import Affine

from geobridge.errors import ImageError
from geobridge.imagery.decode import MAX_PIXELS, read_image


def scene(height=60, width=90):
    """Red grows to the right, green downwards, blue is 50."""
    rows, cols = np.mgrid[0:height, 0:width]
    return np.stack([cols * 2, rows * 3, np.full_like(cols, 50)], axis=2).astype(np.uint8)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def jpeg_claiming(width, height):
    data = bytearray(simplejpeg.encode_jpeg(scene(), 90))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


# What comes out


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP", "JPEG2000"])
def test_lossless_formats_come_out_as_they_went_in(kind):
    pixels = scene()
    picture = Image.fromarray(pixels)
    if kind == "GIF":
        picture = picture.quantize(256)
        pixels = np.array(picture.convert("RGB"))
    options = {"lossless": True} if kind == "WEBP" else {}

    image = read_image(encoded(picture, kind, **options))

    np.testing.assert_array_equal(image, pixels)
    assert image.flags.writeable
    assert image.flags.c_contiguous


def test_jpeg_comes_out_close_to_what_went_in(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(scene(), 98, colorsubsampling="444"))

    for source in (path, str(path), path.read_bytes()):
        image = read_image(source)
        assert image.dtype == np.uint8
        assert image.flags.writeable
        np.testing.assert_allclose(image.astype(int), scene(), atol=6)


@pytest.mark.parametrize("suffix", [".png", ".txt", ""])
def test_the_suffix_does_not_matter(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(simplejpeg.encode_jpeg(scene()))

    assert read_image(path).shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("min_side", "expected"),
    [(None, (600, 900)), (10, (75, 112)), (100, (150, 225)), (200, (225, 337)), (700, (600, 900))],
)
def test_a_jpeg_may_come_reduced_but_not_below_the_side_asked_for(min_side, expected):
    picture = np.repeat(np.repeat(scene(), 10, axis=0), 10, axis=1)

    height, width = read_image(simplejpeg.encode_jpeg(picture), min_side=min_side).shape[:2]

    # DCT scaling goes in eighths: 1/8, 2/8, 3/8; a half rounds either way.
    assert (height, width) == pytest.approx(expected, abs=1)


def test_a_reduced_jpeg_shows_the_same_scene():
    picture = np.repeat(np.repeat(scene(), 8, axis=0), 8, axis=1)

    image = read_image(simplejpeg.encode_jpeg(picture, 95), min_side=60)

    np.testing.assert_allclose(image.astype(int), scene(), atol=10)


# EXIF orientation: how the stored pixels must be moved to stand upright (EXIF 2.32, tag 274)

UPRIGHT_TO_STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],  # mirrored left to right
    3: lambda p: p[::-1, ::-1],  # upside down
    4: lambda p: p[::-1],  # mirrored top to bottom
    5: lambda p: p.transpose(1, 0, 2),  # first row is the left column
    6: lambda p: np.rot90(p, 1),  # first row is the right column
    7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),  # first row is the right column, from below
    8: lambda p: np.rot90(p, -1),  # first row is the left column, from below
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_stand_upright(kind, orientation):
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](scene())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}

    image = read_image(encoded(stored, kind, exif=exif, **options))

    assert image.flags.c_contiguous
    np.testing.assert_allclose(image.astype(int), scene(), atol=6)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation

    assert read_image(encoded(Image.fromarray(scene()), "JPEG", exif=exif)).shape == (60, 90, 3)


def test_broken_exif_does_not_cost_the_pixels():
    data = simplejpeg.encode_jpeg(scene(), 95)
    broken = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage"
    segment = b"\xff\xe1" + struct.pack(">H", len(broken) + 2) + broken

    assert read_image(data[:2] + segment + data[2:]).shape == (60, 90, 3)


# Every kind of pixel


@pytest.mark.parametrize(("high", "shift"), [(65535, 8), (4095, 4), (1023, 2), (255, 0)])
def test_sixteen_bit_greys_are_scaled_by_the_bits_they_use(high, shift):
    values = np.linspace(0, high, 60 * 90).reshape(60, 90).astype(np.uint16)

    image = read_image(encoded(Image.fromarray(values), "PNG"))

    np.testing.assert_array_equal(image, np.repeat((values >> shift)[:, :, None], 3, axis=2))
    assert image.max() == 255


def test_sixteen_bit_colour_tiffs_are_read_too(tmp_path):
    path = tmp_path / "deep.tif"
    bands = np.moveaxis(scene().astype(np.uint16) * 257, 2, 0)
    write_tiff(path, bands)

    np.testing.assert_array_equal(read_image(path), scene())
    np.testing.assert_array_equal(read_image(path.read_bytes()), scene())


def test_what_a_tiff_marks_as_empty_is_white(tmp_path):
    path = tmp_path / "deep.tif"
    bands = np.moveaxis(scene().astype(np.uint16) * 257 + 1, 2, 0)
    bands[:, :10] = 0
    write_tiff(path, bands, nodata=0)

    assert (read_image(path)[:10] == 255).all()


def write_tiff(path, bands, **options):
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=bands.dtype,
        transform=Affine(1, 0, 5, 0, -1, 5),
        **options,
    ) as dataset:
        dataset.write(bands)


def test_floating_point_tiffs_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "heights.tif"
    write_tiff(path, np.ones((1, 20, 20), np.float32))

    with pytest.raises(ImageError, match=r"heights\.tif holds float32 values.*8 or 16 bits"):
        read_image(path)


def test_cmyk_photos_keep_their_colours():
    plain = Image.new("RGB", (40, 40), (200, 60, 30))

    image = read_image(encoded(plain.convert("CMYK"), "JPEG", quality=98))

    np.testing.assert_allclose(image.astype(int), np.full((40, 40, 3), (200, 60, 30)), atol=4)


def test_transparency_is_laid_over_white():
    rgba = np.dstack([scene(), np.full((60, 90), 255, np.uint8)])
    rgba[:30, :, 3] = 0
    rgba[30:40, :, 3] = 128

    image = read_image(encoded(Image.fromarray(rgba), "PNG"))

    assert (image[:30] == 255).all()
    blend = scene()[30:40] * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(image[30:40], blend, atol=1.01)
    np.testing.assert_array_equal(image[40:], scene()[40:])


def test_palettes_with_a_transparent_colour():
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    picture.paste(0, (0, 0, 10, 20))

    image = read_image(encoded(picture, "PNG", transparency=0))

    assert (image[:, :10] == 255).all()
    assert (image[:, 10:] == (10, 200, 30)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_few_colours_become_rgb(mode, kind):
    picture = Image.new("L", (20, 20), 255).convert(mode)

    image = read_image(encoded(picture, kind))

    assert image.shape == (20, 20, 3)
    assert (image == 255).all()


def test_grey_jpegs_become_rgb():
    image = read_image(encoded(Image.new("L", (20, 20), 77), "JPEG"))

    assert image.shape == (20, 20, 3)
    np.testing.assert_allclose(image, 77, atol=1)


# What is refused


def test_a_truncated_file_is_refused_in_every_format(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        path = tmp_path / f"cut.{kind.lower()}"
        data = encoded(Image.fromarray(noise), kind)
        for share in (0.6, 0.2):
            path.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(ImageError, match=rf"cut\.{kind.lower()}"):
                read_image(path)


def test_a_jpeg_cut_short_and_closed_again_is_refused():
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    data = simplejpeg.encode_jpeg(noise)

    with pytest.raises(ImageError, match="damaged"):
        read_image(data[: len(data) // 2] + b"\xff\xd9")


def test_a_jpeg_with_stray_bytes_behind_it_is_read():
    assert read_image(simplejpeg.encode_jpeg(scene()) + b"\0" * 1000).shape == (60, 90, 3)


@pytest.mark.parametrize(
    "data",
    [png_header(30_000, 30_000), png_header(2**31 - 1, 2**31 - 1), jpeg_claiming(65_000, 65_000)],
    ids=["png", "absurd png", "jpeg"],
)
def test_decompression_bombs_are_refused_by_their_header(tmp_path, data):
    path = tmp_path / "bomb"
    path.write_bytes(data)

    assert len(data) < 10_000
    with pytest.raises(ImageError, match=f"bomb has more than {MAX_PIXELS:,} pixels"):
        read_image(path)


def test_a_tiff_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=30_000,
        height=30_000,
        count=3,
        dtype="uint16",
        transform=Affine(1, 0, 5, 0, -1, 5),
        SPARSE_OK=True,
        tiled=True,
    ):
        pass

    with pytest.raises(ImageError, match=r"bomb\.tif has more than"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am no picture at all", "is not a picture we know"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture we know"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not a picture we know"),
        (b"\xff\xd8\xff", "a.jpg"),
        (b"\xff\xd8\xff\xe0 and then nothing", "a.jpg"),
        (b"II*\x00\xff\xff\xff\xff", "a.jpg"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)

    with pytest.raises(ImageError, match=reason) as error:
        read_image(path)

    assert str(path) in str(error.value)


def test_bytes_without_a_name_are_described():
    with pytest.raises(ImageError, match=r"the picture \(5 bytes\)"):
        read_image(b"hello")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
