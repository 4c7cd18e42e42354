"""The preprocessing contract: equal to torchvision, a fixed output size, and fully described."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from landmarks.errors import ImageError, ModelError, SettingsError
from landmarks.imaging.decoding import ImageLimits
from landmarks.imaging.preprocessing import Preprocessing, center_crop, normalize, prepare, resize_short_side

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CONTRACT = Preprocessing()
SIZES = [
    (256, 256), (224, 224), (256, 341), (341, 256), (300, 400), (401, 299), (64, 64), (50, 33), (1, 1),
    (257, 256), (255, 256), (288, 511), (600, 800), (1000, 90), (77, 1023), (3, 200),
]  # fmt: skip


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A made picture with the mix of a photo: soft shading, edges and fine grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shading = 110 + 60 * np.sin(x / 23) + 40 * np.cos(y / 17)
    edges = 50 * ((x // 11 + y // 19) % 2)
    grain = rng.normal(0, 12, (height, width, 3))
    return (shading[..., None] + edges[..., None] * (1.0, 0.6, 0.2) + grain).clip(0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    assert first.shape == second.shape
    return np.abs(first.astype(int) - second)


def torchvision_reference(image: np.ndarray, resize: int = 256, crop: int = 224) -> np.ndarray:
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    transform = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(crop)])
    return transform(torch.from_numpy(image.copy()).permute(2, 0, 1)).permute(1, 2, 0).numpy()


class TestEqualToTorchvision:
    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_resize_and_crop(self, height: int, width: int) -> None:
        image = texture(height, width)
        assert difference(prepare(image, CONTRACT), torchvision_reference(image)).max() <= 1

    @pytest.mark.parametrize(("resize", "crop"), [(128, 112), (257, 224), (320, 300), (65, 64), (8, 8)])
    def test_other_sizes(self, resize: int, crop: int) -> None:
        preprocessing = replace(CONTRACT, resize=resize, crop=crop)
        for height, width in SIZES[:8]:
            image = texture(height, width)
            expected = torchvision_reference(image, resize, crop)
            assert difference(prepare(image, preprocessing), expected).max() <= 1

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_resize_alone_gives_the_same_sides(self, height: int, width: int) -> None:
        torch = pytest.importorskip("torch")
        v2 = pytest.importorskip("torchvision.transforms.v2")
        expected = v2.Resize(256)(torch.zeros(3, height, width, dtype=torch.uint8)).shape[1:]
        assert resize_short_side(texture(height, width), 256).shape[:2] == tuple(expected)

    def test_crop_rounds_half_pixels_alike(self) -> None:
        torch = pytest.importorskip("torch")
        v2 = pytest.importorskip("torchvision.transforms.v2")
        for height in range(10, 15):
            for width in range(10, 15):
                image = texture(height, width)
                expected = v2.CenterCrop(9)(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
                np.testing.assert_array_equal(center_crop(image, 9), expected)

    def test_normalize(self) -> None:
        torch = pytest.importorskip("torch")
        v2 = pytest.importorskip("torchvision.transforms.v2")
        batch = np.stack([texture(20, 30, seed) for seed in range(3)])
        transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(CONTRACT.mean, CONTRACT.std)])
        expected = transform(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()
        got = normalize(batch, CONTRACT)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        np.testing.assert_allclose(got, expected, atol=1e-6)


class TestPrepare:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 64), st.integers(0, 64))
    def test_any_size_gives_the_crop_or_one_clear_error(
        self, height: int, width: int, crop: int, more: int
    ) -> None:
        preprocessing = replace(CONTRACT, resize=crop + more, crop=crop)
        image = np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8).reshape(height, width, 3)
        if max(height, width) > 100 * min(height, width):
            with pytest.raises(ImageError, match="crop it first"):
                prepare(image, preprocessing)
            return
        prepared = prepare(image, preprocessing)
        assert prepared.shape == (crop, crop, 3)
        assert prepared.dtype == np.uint8
        assert prepared.flags.writeable
        assert prepared.flags.c_contiguous
        np.testing.assert_array_equal(prepare(image, preprocessing), prepared)

    def test_array_bytes_and_path_agree(self, tmp_path: Path) -> None:
        image = texture(300, 420)
        path = tmp_path / "picture.png"
        Image.fromarray(image).save(path)
        expected = center_crop(resize_short_side(image, 256), 224)
        for source in (image, path, path.read_bytes()):
            np.testing.assert_array_equal(prepare(source, CONTRACT), expected)

    def test_leaves_its_input_alone(self) -> None:
        image = texture(224, 224)
        before = image.copy()
        prepare(image, replace(CONTRACT, resize=224))[:] = 0
        np.testing.assert_array_equal(image, before)

    def test_dct_scaling_changes_little(self) -> None:
        image = texture(1536, 2048)
        content = jpeg(image)
        with Image.open(io.BytesIO(content)) as decoded:
            plain = prepare(np.array(decoded), CONTRACT)
        change = difference(prepare(content, CONTRACT), plain)
        assert change.mean() < 1.5
        assert change.max() <= 16

    def test_a_jpeg_of_twelve_megapixels_is_decoded_in_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = []
        resize = Image.Image.resize

        def spy(self: Image.Image, *args: Any, **kwargs: Any) -> Image.Image:
            sizes.append(self.size)
            return resize(self, *args, **kwargs)

        content = jpeg(np.full((3000, 4000, 3), 90, np.uint8))
        monkeypatch.setattr(Image.Image, "resize", spy)
        assert (prepare(content, CONTRACT) == 90).all()
        assert sizes == [(500, 375)]

    @pytest.mark.parametrize("shape", [(5000, 1), (1, 5000)])
    def test_a_strip_is_refused_by_name(self, shape: tuple[int, int], tmp_path: Path) -> None:
        path = tmp_path / "strip.png"
        Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(path)
        with pytest.raises(ImageError, match=r"strip\.png: .* times as long as wide: crop it first"):
            prepare(path, CONTRACT)

    def test_the_longest_strip_that_is_taken(self) -> None:
        assert prepare(texture(3, 300), CONTRACT).shape == (224, 224, 3)

    def test_limits_reach_the_decoder(self) -> None:
        with pytest.raises(ImageError, match="limit"):
            prepare(jpeg(texture(40, 40)), CONTRACT, ImageLimits(max_pixels=100))

    @pytest.mark.parametrize(
        "array", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32),
                  np.zeros((0, 9, 3), np.uint8)],
    )  # fmt: skip
    def test_arrays_of_another_kind_are_refused(self, array: np.ndarray) -> None:
        with pytest.raises(ImageError, match="expected a uint8 array"):
            prepare(array, CONTRACT)

    def test_a_crop_larger_than_the_picture_is_refused(self) -> None:
        with pytest.raises(ImageError, match="too few"):
            center_crop(texture(10, 20), 11)


class TestPreprocessing:
    def test_the_contract(self) -> None:
        assert CONTRACT.to_dict() == {
            "resize": 256,
            "crop": 224,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "interpolation": "bilinear",
            "fit": "crop",
        }

    def test_travels_through_json(self) -> None:
        preprocessing = Preprocessing(resize=128, crop=112, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
        assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("resize", 0), ("resize", 5000), ("resize", 100), ("resize", 256.0), ("resize", True),
            ("crop", 0), ("crop", 257), ("crop", "224"), ("mean", (0.5, 0.5)), ("mean", 0.5),
            ("mean", (0.5, float("nan"), 0.5)), ("mean", ("a", "b", "c")), ("std", (0.2, 0.0, 0.2)),
            ("std", (0.2, float("inf"), 0.2)), ("std", (0.2, -0.2, 0.2)), ("interpolation", "bicubic"),
        ],
    )  # fmt: skip
    def test_checks_itself(self, name: str, value: Any) -> None:
        with pytest.raises(SettingsError, match=f"{name}|crop"):
            replace(CONTRACT, **{name: value})
        stored = value if not isinstance(value, tuple) else list(value)
        with pytest.raises(ModelError, match="preprocessing is damaged"):
            Preprocessing.from_dict({**CONTRACT.to_dict(), name: stored})

    def test_missing_and_unknown_entries(self) -> None:
        values = CONTRACT.to_dict()
        with pytest.raises(ModelError, match="sharpen"):
            Preprocessing.from_dict({**values, "sharpen": 1})
        del values["crop"]
        with pytest.raises(ModelError, match="crop"):
            Preprocessing.from_dict(values)
        with pytest.raises(ModelError, match="table"):
            Preprocessing.from_dict([1, 2])  # type: ignore[arg-type]


@pytest.mark.shared
def test_real_pictures_are_torchvisions_but_for_roundings() -> None:
    # Both round between the two passes of the resize, not always alike; of 256 pictures two had one value that
    # differed by 2, and one value in a thousand by 1.
    if not DATA.is_dir():
        pytest.skip("the real pictures do not lie beside the project")
    paths = sorted(DATA.glob("*/test/*/*.jpg"))
    chosen = {*paths[::150], *DATA.glob("world34/test/25.Petra/397ee9cbf98d4782.jpg")}
    differences = []
    for path in sorted(chosen):
        with Image.open(path) as image:
            expected = torchvision_reference(np.array(image.convert("RGB")))
        differences.append(difference(prepare(path, CONTRACT), expected))
    found = np.stack(differences)
    assert found.max() <= 2
    assert (found == 2).mean() < 1e-6
    assert (found == 1).mean() < 2e-3
