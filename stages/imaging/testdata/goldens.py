"""Makes the fixtures of package imaging and goldens.json, what Pillow makes of them.

Rerun with: python3 goldens.py   (Pillow 13, NumPy; the tests themselves need no Python)
arithmetic.jpg and arithmeticprogressive.jpg, which Pillow cannot write, are s420.jpg through
jpegtran -arithmetic [-progressive].
Every golden is the SHA-256 of RGB bytes. Frames named "WxH" are not files but noise(w, h), which the
test generates by the same formula.
"""
import hashlib, io, json, os, struct, zlib
import numpy as np
from PIL import Image, ImageOps, features

os.chdir(os.path.dirname(os.path.abspath(__file__)))
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
W, H = 29, 19


def noise(w, h):
    i = np.arange(w * h * 3, dtype=np.uint64)
    return (((i * 2654435761) & 0xFFFFFFFF) >> 24).astype(np.uint8).reshape(h, w, 3)


def picture(channels=3):
    """Smooth colours with an edge, so that JPEG stays small and chroma upsampling shows."""
    y, x = np.mgrid[0:H, 0:W]
    planes = [x * 255 // (W - 1), y * 255 // (H - 1), ((x // 7 + y // 5) % 2) * 200 + 20, (x + y) * 255 // (W + H - 2)]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


# ---- files ----

def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples, depth):
    """Rows of samples (h, w, channels) as PNG packs them, each behind filter type 0."""
    out = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            out += b"\0" + row.astype(">u2").tobytes()
        elif depth == 8:
            out += b"\0" + row.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row)
            bits += "0" * (-len(bits) % 8)
            out += b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(name, samples, depth, color, before=b"", interlaced=False, after=b""):
    h, w = samples.shape[:2]
    if interlaced:
        raw = b"".join(packed(samples[y::dy, x::dx], depth) for x, y, dx, dy in ADAM7 if samples[y::dy, x::dx].size)
    else:
        raw = packed(samples, depth)
    head = struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced))
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(raw, 9)) + after + chunk(b"IEND", b"")
    open(name, "wb").write(b"\x89PNG\r\n\x1a\n" + body)


def exif(orientation):
    return b"Exif\0\0" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HH", orientation, 0) + b"\0\0\0\0"


def jpegs():
    rgb, gray = Image.fromarray(picture()), Image.fromarray(picture()[..., 0])
    for name, subsampling in (("444", "4:4:4"), ("422", "4:2:2"), ("420", "4:2:0")):
        rgb.save(f"s{name}.jpg", quality=85, subsampling=subsampling)
    gray.save("gray.jpg", quality=85)
    rgb.save("progressive.jpg", quality=85, progressive=True)
    rgb.save("restarts.jpg", quality=85, restart_marker_blocks=1)
    rgb.save("rgb.jpg", quality=85, keep_rgb=True)
    gray.save("grayprogressive.jpg", quality=85, progressive=True)
    Image.fromarray(picture(4), "CMYK").save("cmyk.jpg", quality=85)
    cmyk = open("cmyk.jpg", "rb").read()
    at = cmyk.index(b"Adobe") + 11
    open("ycck.jpg", "wb").write(cmyk[:at] + b"\x02" + cmyk[at + 1:])
    # 4:4:0: the sampling factors of 4:2:2 turned, and the picture with them.
    turned = rgb.transpose(Image.Transpose.TRANSPOSE)
    turned.save("s440.jpg", quality=85, subsampling="4:2:2")
    b = bytearray(open("s440.jpg", "rb").read())
    sof = b.index(b"\xff\xc0")
    b[sof + 11] = 0x12
    b[sof + 5:sof + 9] = struct.pack(">HH", H, W)
    open("s440.jpg", "wb").write(b)
    for o in range(1, 9):
        rgb.save(f"exif{o}.jpg", quality=60, exif=exif(o))


def pngs():
    y, x = np.mgrid[0:H, 0:W]
    ramp = lambda depth: ((x + y * 3) % (1 << depth))[..., None]
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    for depth in (1, 2, 4, 8):
        plte = chunk(b"PLTE", palette[:1 << depth].tobytes())
        alphas = chunk(b"tRNS", bytes(i * 37 % 256 for i in range((1 << depth) - 1)))
        png(f"gray{depth}.png", ramp(depth), depth, 0)
        png(f"palette{depth}.png", ramp(depth), depth, 3, plte)
        png(f"palette{depth}alpha.png", ramp(depth), depth, 3, plte + alphas)
        png(f"gray{depth}key.png", ramp(depth), depth, 0, chunk(b"tRNS", struct.pack(">H", 1)))
    wide = picture(4).astype(np.uint32) * 257 - (x + y)[..., None] * (picture(4) > 0)
    png("gray16.png", wide[..., :1], 16, 0)
    png("gray16key.png", wide[..., :1], 16, 0, chunk(b"tRNS", struct.pack(">H", int(wide[3, 3, 0]))))
    png("rgb16.png", wide[..., :3], 16, 2)
    png("graya16.png", wide[..., 2:4], 16, 4)
    png("rgba16.png", wide, 16, 6)
    png("rgb8.png", picture(), 8, 2)
    png("rgb8key.png", picture(), 8, 2, chunk(b"tRNS", struct.pack(">HHH", *map(int, picture()[3, 3]))))
    png("graya8.png", picture(4)[..., 2:], 8, 4)
    png("rgba8.png", picture(4), 8, 6)
    png("interlaced.png", picture(4), 8, 6, interlaced=True)
    png("interlaced1.png", ramp(1), 1, 0, interlaced=True)
    png("interlaced16.png", wide[..., :3], 16, 2, interlaced=True)
    png("exif6.png", picture(), 8, 2, after=chunk(b"eXIf", exif(6)[6:]))
    png("luggage.png", picture(), 8, 2, chunk(b"tEXt", b"a\0" + b"b" * 90) + chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 4000)))


def webps():
    rgb, rgba = Image.fromarray(picture()), Image.fromarray(picture(4))
    rgb.save("lossy.webp", quality=70)
    rgba.save("lossyalpha.webp", quality=70)
    rgb.save("lossless.webp", lossless=True)
    rgba.save("losslessalpha.webp", lossless=True)
    rgb.save("exif8.webp", quality=50, exif=exif(8))
    other = [Image.fromarray(255 - picture(4)), Image.fromarray(picture(4)[::-1])]
    rgba.save("animated.webp", save_all=True, append_images=other, duration=50, lossless=True)
    rgb.save("animatedlossy.webp", save_all=True, append_images=[o.convert("RGB") for o in other], duration=50, quality=50)


def gifs():
    p = Image.fromarray(picture()).quantize(16)
    p.save("plain.gif", interlace=False)
    p.save("interlaced.gif", interlace=True)
    p.save("transparent.gif", transparency=p.getpixel((3, 3)))
    p.save("animated.gif", save_all=True, append_images=[p.rotate(180)], duration=50)
    for name in ("plain", "transparent"):  # a screen larger than its one frame
        b = open(f"{name}.gif", "rb").read()
        open(f"{name}offset.gif", "wb").write(b[:6] + struct.pack("<HH", W + 4, H + 3) + b[10:].replace(
            b"\x2c\0\0\0\0", b"\x2c\x02\0\x01\0", 1))


# ---- what Pillow makes of them ----

def flatten(im, background):
    if im.mode == "L" and "transparency" in im.info and getattr(im, "depth", 8) < 8:
        # Pillow scales 2 and 4 bits to 8, but not the transparent value it compares them with.
        im.info["transparency"] *= 255 // ((1 << im.depth) - 1)
    if im.mode == "I;16":  # Pillow clips at 255; we keep the high byte, as it does for colour
        wide = np.asarray(im)
        out = np.repeat((wide >> 8).astype(np.uint8)[..., None], 3, axis=2)
        if "transparency" in im.info:
            out[wide == im.info["transparency"]] = background
        return Image.fromarray(out)
    if im.has_transparency_data:
        rgba = im.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", im.size, (*background, 255)), rgba).convert("RGB")
    return im.convert("RGB")


def resize(im, size, f):
    """Pillow 13 may take the vertical pass first, where that is cheaper. Earlier ones, and Facet, never do."""
    return im.resize((size[0], im.height), f).resize(size, f)


def resized(im, c):
    h, w = c["size"]
    f = FILTERS[c["filter"]]
    if c["resize"] == "letterbox":  # ImageOps.pad
        small = resize(im, ImageOps.contain(im, (w, h), f).size, f)
        out = Image.new("RGB", (w, h), tuple(c["background"]))
        out.paste(small, (round((w - small.width) * 0.5), round((h - small.height) * 0.5)))
        return out
    if c["resize"] == "stretch":
        return resize(im, (w, h), f)
    iw, ih = im.size  # torchvision: Resize(shorter side), generalised to cover h×w, then CenterCrop
    nw, nh = (w, int(w * ih / iw)) if w * ih >= h * iw else (int(h * iw / ih), h)
    ch, cw = c.get("crop") or (h, w)
    top, left = int(round((nh - ch) / 2.0)), int(round((nw - cw) / 2.0))
    return resize(im, (nw, nh), f).crop((left, top, left + cw, top + ch))


def golden(file, resize="stretch", size=None, filter="bilinear", orientation="ignore", background=(250, 130, 10), dct=False, **more):
    c = dict(file=file, resize=resize, size=size, filter=filter, orientation=orientation, background=list(background), **more)
    if os.path.exists(file):
        im = Image.open(file)
        if dct:
            c["dct"] = True
            im.draft("RGB", (2 * size[1], 2 * size[0]))
        if file.endswith(".png"):
            im.depth = open(file, "rb").read()[24]
        im.load()
        if orientation == "apply":
            im = ImageOps.exif_transpose(im)
        im = flatten(im, background)
    else:
        im = Image.fromarray(noise(*map(int, file.split("x"))))
    c["size"] = size = list(size or (im.height, im.width))
    out = np.asarray(resized(im, c))
    c["sha256"] = hashlib.sha256(out.tobytes()).hexdigest()
    if out.size <= 60:
        c["pixels"] = out.ravel().tolist()
    return c


def goldens():
    files = sorted(f for f in os.listdir(".") if f.rsplit(".")[-1] in ("jpg", "png", "webp", "gif"))
    for f in files:
        yield golden(f)
        yield golden(f, size=(3, 4), background=(255, 255, 255))
        yield golden(f, size=(40, 33), filter="bicubic")
        if f.startswith("exif"):
            yield golden(f, orientation="apply")
            yield golden(f, orientation="apply", size=(11, 13), filter="bicubic")
            yield golden(f, orientation="apply", resize="shorter", size=(8, 8))
    for f in ("s420.jpg", "gray.jpg", "cmyk.jpg", "progressive.jpg"):
        for size in ((4, 7), (2, 3), (1, 1)):  # decoded at 1/2, 1/4, 1/8
            yield golden(f, size=size, dct=True)
    frames = ["1x1", "7x5", "5x7", "60x80", "65x1", "1x65", "3x1000", "1000x3", "300x200", "601x399", "64x64"]
    for f in frames:
        for kernel in FILTERS:
            for size in ((64, 64), (224, 224), (1, 1), (2, 9), (5, 100)):
                yield golden(f, size=size, filter=kernel)
                if fits(f, size):
                    yield golden(f, "letterbox", size, kernel)
            for size, crop in (((64, 64), None), ((256, 256), (224, 224)), ((9, 7), (4, 4)), ((8, 13), (7, 12))):
                yield golden(f, "shorter", size, kernel, crop=crop)


def fits(f, size):
    """Whether letterboxing leaves at least one pixel; Pillow raises an error where it does not."""
    w, h = map(int, f.split("x"))
    scale = min(size[1] / w, size[0] / h)
    return min(w * scale, h * scale) > 0.51


if __name__ == "__main__":
    jpegs(), pngs(), webps(), gifs()
    cases = list(goldens())
    with open("goldens.json", "w") as out:
        out.write("[\n" + ",\n".join(json.dumps({k: v for k, v in c.items() if v is not None}, separators=(",", ":")) for c in cases) + "\n]\n")
    print(len(cases), "goldens; Pillow", Image.__version__, "libjpeg-turbo", features.version("libjpeg_turbo"))
