"""Writes hostile.json: what Pillow makes of the images that internal/hostile generates.

Rerun with: go run ./internal/hostile/write stages/imaging/testdata 6 DIR && python3 hostile.py DIR
(Pillow 13, NumPy; the tests themselves need no Python). A line holds a file's name and
either the SHA-256 of the 18×24 RGB pixels Pillow makes of it ("pixels"), or why it makes none ("error").
Settings are Pillow's own: it refuses truncated files.
"""
import hashlib, json, os, sys, warnings
import numpy as np
from PIL import Image, ImageOps
import goldens

SIZE = (24, 18)
warnings.simplefilter("ignore")


def pixels(path):
    im = Image.open(path)
    if im.format not in ("JPEG", "PNG", "WEBP", "GIF"):
        raise ValueError(f"a {im.format}")
    im.load()
    turned = ImageOps.exif_transpose(im)
    if im.format == "PNG":
        turned.depth = open(path, "rb").read()[24]
    im = goldens.flatten(turned, (255, 255, 255))
    return np.asarray(goldens.resize(im, SIZE, Image.Resampling.BILINEAR))


def judged(path):
    try:
        return "pixels", hashlib.sha256(pixels(path).tobytes()).hexdigest()[:32]
    except Exception as e:  # whatever it is, it is no picture
        return "error", f"{type(e).__name__}: {e}".replace(path, "FILE")[:100]


folder = os.path.abspath(sys.argv[1])
lines = []
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    what, value = judged(path)
    lines.append(json.dumps({"name": name, what: value}))
open("hostile.json", "w").write("[\n" + ",\n".join(lines) + "\n]\n")
print(len(lines), "images", sum('"pixels"' in l for l in lines), "decoded")
