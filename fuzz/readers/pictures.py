"""Folders of pictures: the bytes of a picture, its name and the name of its folder are the input."""

import io
from pathlib import Path
from typing import Any

from fuzz.attempt import Reader
from fuzz.packing import in_png

__all__ = ["READERS"]


def run(data: bytes, folder: Path) -> Any:
    """A picture as it is shown, or one time in four a folder of it.

    The first byte chooses the view, the second tells the length of the name that follows; the rest is the picture.
    """
    from uncollapse.data import images, pictures
    from uncollapse.data.folders import sorted_out
    from uncollapse.data.stored import Store

    how, length = (*data[:2], 0, 0)[:2]
    name, picture = data[2 : 2 + length], data[2 + length :]
    size = (None, 4, 1, 9)[how % 4]
    view = images.View(size, (None, 2)[how // 4 % 2], (None, 1, 3, None)[how // 8 % 4], bool(how & 32))
    if how < 192:
        return images.show(io.BytesIO(picture), "the picture", view)
    if not named(folder, name, picture):
        return None
    (folder / "made").mkdir()
    return pictures.write(Store(folder / "made"), sorted_out(folder / "all", (0.4, 0.3, 0.3), 0), view)


def named(folder: Path, name: bytes, picture: bytes) -> bool:
    """Put the pictures into folders of the given name; False where the file system refuses it."""
    where = folder / "all" / (name.replace(b"\0", b"").replace(b"/", b"_").decode("utf-8", "surrogateescape") or "a")
    try:
        for place in (where, folder / "all" / "b"):
            if place.name in {".", ".."}:
                return False
            place.mkdir(parents=True, exist_ok=True)
            for number in range(4):
                (place / f"{number}.png").write_bytes(picture)
    except OSError:
        return False
    return True


def seeds() -> dict[str, bytes]:
    """Every format, in grey, colour, with a palette, 16 bits, and several pages."""
    from PIL import Image

    out = {}
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
        for mode in ("L", "RGB", "1", "P", "I;16", "RGBA", "LA", "CMYK", "F", "I"):
            buffer = io.BytesIO()
            try:
                Image.new(mode, (6, 5)).save(buffer, kind)
            except (OSError, ValueError):  # not every format takes every mode
                continue
            out[f"{kind}-{mode.replace(';', '')}"] = bytes([len(out) % 192, 0]) + buffer.getvalue()
    png = out["PNG-L"][2:]
    for number, name in enumerate((b"cat", b"..", b"\xff\xfe", b"\x1b[31mred\n", b"train", b"x" * 200)):
        out[f"name-{number}"] = bytes([192 + number, len(name)]) + name + png
    frames = [Image.new("L", (6, 5), value) for value in (0, 9)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return out | {"frames": b"\0\0" + buffer.getvalue()}


READERS = (Reader("pictures", run, seeds, in_png, 4096),)
