"""Pictures of every kind, as files; and what a model is trained on of them, through convert and loading."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from reprolens.config import Voc
from reprolens.config.compose import compose
from reprolens.config.data import Action
from reprolens.convert import convert
from reprolens.loading import open_rgb
from reprolens.voc import read_folder

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (12, 16), dtype=np.uint16)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def picture(mode: str) -> Image.Image:
    if mode in ("LA", "RGBA", "PA"):
        alpha = Image.fromarray(NOISE[..., 0])
        made = Image.fromarray(NOISE).convert("L" if mode == "LA" else "RGB")
        made.putalpha(alpha)
        return made
    if mode == "I;16":
        return Image.fromarray(DEEP)
    return Image.fromarray(NOISE).convert(mode)


def files() -> dict[str, bytes]:
    """Return pictures of every kind by name."""
    made = {
        f"{mode.replace(';', '-')}-{suffix}.{suffix}": encoded(picture(mode), kind)
        for suffix, kind, modes in (
            ("png", "PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
            ("tif", "TIFF", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "YCbCr")),
            ("jpg", "JPEG", ("L", "RGB", "CMYK")),
            ("bmp", "BMP", ("1", "L", "P", "RGB", "RGBA")),
            ("webp", "WEBP", ("L", "RGB", "RGBA")),
            ("gif", "GIF", ("1", "L", "P", "RGB")),
            ("pgm", "PPM", ("L", "I;16")),
            ("ppm", "PPM", ("1", "RGB")),
            ("jp2", "JPEG2000", ("L", "RGB", "RGBA")),
        )
        for mode in modes
    }
    frames = [Image.fromarray(np.roll(NOISE, step, 0)) for step in range(3)]
    for suffix, kind in (("gif", "GIF"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
        made[f"animated-{suffix}.{suffix}"] = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    made["transparent.png"] = encoded(picture("P"), "PNG", transparency=3)
    made["dot.png"] = encoded(Image.new("RGB", (1, 1), (10, 200, 30)), "PNG")
    made["one.jpg"] = encoded(Image.new("L", (1, 1), 77), "JPEG")
    made["line.png"] = encoded(Image.fromarray(NOISE[:1]), "PNG")
    made["big-endian.tif"] = encoded(Image.fromarray(DEEP.astype(">u2")), "TIFF")
    made["deep-32.tif"] = encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF")
    made["deep-10.pgm"] = b"P5 16 12 1023\n" + (DEEP % 1024).astype(">u2").tobytes()
    made["deep-dark.pgm"] = b"P5 16 12 65535\n" + (DEEP % 256).astype(">u2").tobytes()
    for orientation in range(9):
        for mode in ("RGB", "L", "I;16", "P", "RGBA"):
            name = f"turned-{orientation}-{mode.replace(';', '-')}"
            made[f"{name}.png"] = encoded(picture(mode), "PNG", exif=exif(orientation))
        made[f"turned-{orientation}-tif.tif"] = encoded(picture("RGB"), "TIFF", exif=exif(orientation))
    return made


def trained_on(content: dict[str, bytes], root: Path) -> dict[str, np.ndarray]:
    """Return the pixels `(H, W, 3)` that a model would be trained on, by name: through convert and loading."""
    source = root / "source"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (source / folder).mkdir(parents=True)
    fillers = np.random.default_rng(0).integers(0, 256, (2, 30, 30, 3), dtype=np.uint8)
    filled = {
        f"{split}-filler.png": encoded(Image.fromarray(fillers[n]), "PNG") for n, split in enumerate(("val", "test"))
    }
    for name, data in (content | filled).items():
        (source / "JPEGImages" / name).write_bytes(data)
        with Image.open(io.BytesIO(data)) as stored:
            stored.load()
            turned = stored.getexif().get(0x0112, 1) >= 5
            width, height = stored.size[::-1] if turned else stored.size
        text = (
            f"<filename>{name}</filename><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        )
        box = f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{width}</xmax><ymax>{height}</ymax></bndbox>"
        text = f"<annotation>{text}<object><name>thing</name>{box}</object></annotation>"
        (source / "Annotations" / f"{Path(name).stem}.xml").write_text(text)
    for split, names in {"train": content, "val": ("val-filler.png",), "test": ("test-filler.png",)}.items():
        lines = "".join(f"{Path(name).stem}\n" for name in names)
        (source / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
    shipped = compose(ROOT, ["data=voc"]).data
    assert isinstance(shipped, Voc)
    lenient = dict.fromkeys(("duplicate_image", "near_duplicate", "tiny_box"), Action.keep)
    policy = replace(shipped.policy, exif_rotation=Action.fix, **lenient)
    convert(replace(shipped, path=str(source), policy=policy), 1, root / "voc")
    folder = read_folder(root / "voc")
    pixels = {record.id: np.asarray(open_rgb(folder, record)) for record in folder.records("train")}
    assert len(pixels) == len(content)
    return {name: pixels[Path(name).stem] for name in content}
