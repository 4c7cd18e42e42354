"""Hostile inputs, made by code: what an attacker or a broken program may send to each reader of the service.

A reader may refuse its input with one of its own errors; anything else that it raises is a fault. The same readers
and inputs are the targets and the seeds of `fuzz.py`.
"""

from __future__ import annotations

import asyncio
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import pillow_heif
from PIL import Image
from starlette.requests import Request

from landmarks.errors import LandmarksError
from landmarks.imaging.decoding import load_image
from landmarks.metadata.packet import PacketError
from landmarks.metadata.reading import embedded_position
from landmarks.metadata.xmp import XmpPacket
from landmarks.serving.jobs.archive import images_of
from landmarks.serving.middleware.admission import Admission
from landmarks.serving.middleware.intake import Upload, read_pictures
from landmarks.serving.pool.worker import size_of
from landmarks.serving.settings import JobLimits, Limits

LIMITS = Limits(max_mb=1, max_megapixels=1, max_files=4, queue=4)
REFUSALS = (LandmarksError, PacketError)
BOUNDARY = b"frontier"


# --- the readers ---


def read_picture(content: bytes) -> None:
    """What a worker does with an image before the network."""
    load_image(content, min_side=64, limits=LIMITS.image)
    embedded_position(content)
    size_of(content)


def read_form(body: bytes) -> None:
    """What the service does with a form."""
    ticket = Admission(100, 2**30).enter("somebody")

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)]
    scope = {"type": "http", "method": "POST", "headers": headers, "state": {"client": "", "ticket": ticket}}
    asyncio.run(read_pictures(Request(scope, receive), LIMITS))


def read_packet(content: bytes) -> None:
    """What is done with the XMP of a photo, or of a sidecar."""
    packet = XmpPacket(content)
    packet.entries()
    packet.to_bytes()


def read_archive(content: bytes) -> None:
    """What the service does with the archive of a job."""
    images, _ = images_of([Upload("a.zip", content)], JobLimits(job_files=20, job_mb=1), 10_000)
    for image in images:
        image.content()


READERS: dict[str, Callable[[bytes], None]] = {
    "picture": read_picture,
    "form": read_form,
    "packet": read_packet,
    "archive": read_archive,
}


# --- pictures ---


def _saved(kind: str, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: object) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 100).save(content, kind, **options)
    return content.getvalue()


def _heic() -> bytes:
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (24, 16), 100)).save(content)
    return content.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def pictures() -> dict[str, bytes]:
    """Bombs, loops, lies about sizes, polyglots, and cut files."""
    jpeg, png = _saved("JPEG"), _saved("PNG")
    exif = Image.Exif()
    exif[0x0112] = 65535
    exif.get_ifd(0x8825).update({1: "N", 2: (float("inf"), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)})
    loop = b"Exif\0\0MM\0*" + struct.pack(
        ">IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8
    )  # a directory that is its own child
    segment = b"\xff\xe1" + struct.pack(">H", len(loop) + 2) + loop
    return {
        "empty": b"",
        "one byte": b"\xff",
        "jpeg": jpeg,
        "png": png,
        "gif": _saved("GIF", mode="P"),
        "webp": _saved("WEBP"),
        "tiff": _saved("TIFF"),
        "bmp": _saved("BMP"),
        "avif": _saved("AVIF"),
        "heic": _heic(),
        "grey, alpha": _saved("PNG", mode="LA"),
        "absurd orientation and position": _saved("JPEG", exif=exif),
        "EXIF that loops": jpeg[:2] + segment + jpeg[2:],
        "pixels without end": _png(900, 900, zlib.compress(bytes(10**7))),
        "dimensions of a bomb": _png(2**31 - 1, 2**31 - 1, zlib.compress(b"x")),
        "no width": _png(0, 10, zlib.compress(b"")),
        "text that unpacks to much": _png(4, 4, b"", _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**7)))),
        "colour profile of noise": _saved("JPEG", icc_profile=bytes(range(256)) * 4),
        "polyglot with an archive": jpeg + archives()["two files"],
        "polyglot with a page": b"GIF89a/*<script>alert(1)</script>*/=1;",
        "jpeg, cut": jpeg[: len(jpeg) // 2],
        "png, cut": png[: len(png) // 2],
        "heic, cut": _heic()[:200],
        "svg that fetches": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>',
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
    }


# --- forms ---


def _part(headers: bytes, body: bytes) -> bytes:
    return b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n\r\n" + body + b"\r\n"


def forms() -> dict[str, bytes]:
    """Headers without end, names that lead elsewhere, too many parts, and cut bodies."""
    file = b'Content-Disposition: form-data; name="photos"; filename="a.jpg"'
    end = b"--" + BOUNDARY + b"--\r\n"
    whole = _part(file, b"picture") + end
    return {
        "empty": b"",
        "whole": whole,
        "cut": whole[:-20],
        "no end": _part(file, b"picture"),
        "name that leads elsewhere": _part(file.replace(b"a.jpg", b"../../../etc/passwd\0.jpg"), b"x") + end,
        "name of noise": _part(file.replace(b"a.jpg", bytes(range(128, 256))), b"x") + end,
        "long name": _part(file.replace(b"a.jpg", b"a" * 10**5), b"x") + end,
        "header without end": b"--" + BOUNDARY + b"\r\nX: " + b"x" * 10**6,
        "very many headers": _part(b"\r\n".join([file, *[b"X-%d: y" % number for number in range(5000)]]), b"x")
        + end,
        "too many files": _part(file, b"x") * 5 + end,
        "too many fields": _part(b'Content-Disposition: form-data; name="a"', b"x") * 100 + end,
        "large field": _part(b'Content-Disposition: form-data; name="a"', b"x" * 10**6) + end,
        "no disposition": _part(b"Content-Type: image/jpeg", b"x") + end,
        "another charset": _part(b'Content-Disposition: form-data; name="_charset_"', b"utf-7") + whole,
        "boundary in the body": _part(file, b"\r\n--" + BOUNDARY[:-1] + b"\r\n--" + BOUNDARY) + end,
    }


# --- XMP ---


def packets() -> dict[str, bytes]:
    """Entities that multiply, nesting without end, foreign encodings, and cut packets."""
    rdf = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    items = "<rdf:li>Paris</rdf:li>"
    bag = f"<dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>"
    whole = f"<rdf:RDF {rdf}><rdf:Description>{bag}</rdf:Description></rdf:RDF>"
    references = [f"&l{number};" * 10 for number in range(11)]
    laughs = "".join(f'<!ENTITY l{number} "{text}">' for number, text in enumerate(["ha", *references]))
    prefixes = " ".join(f'xmlns:p{number}="u:{number}"' for number in range(5000))
    return {
        "empty": b"",
        "whole": whole.encode(),
        "utf-16": whole.encode("utf-16"),
        "cut": whole[:-30].encode(),
        "entities that multiply": f"<!DOCTYPE x [{laughs}]><x>&l11;</x>".encode(),
        "entity from a file": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "nested without end": b"<a>" * 100_000,
        "very many items": whole.replace(items, items * 20_000).encode(),
        "very long attribute": whole.replace(
            "<rdf:Description>", f'<rdf:Description dc:x="{"y" * 10**6}">'
        ).encode(),
        "very many prefixes": whole.replace("<rdf:Description>", f"<rdf:Description {prefixes}>").encode(),
        "characters that are none": whole.replace("Paris", "&#0;\x01").encode(),
        "lone surrogate": whole.replace("Paris", "\ud800").encode("utf-8", "surrogatepass"),
        "wrong encoding": whole.encode("latin-1").replace(b"Paris", b"\xff\xfe"),
        "two roots": (whole + whole).encode(),
        "instructions": b"<?xpacket begin='?" * 1000,
    }


# --- archives ---


def zip_of(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive of entries by name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, body in entries.items():
            file.writestr(name, body)
    return content.getvalue()


def _nameless(archive: bytes) -> bytes:
    """An archive of one entry, whose name of one byte is taken out of the directory."""
    at = archive.index(b"PK\x01\x02")
    content = bytearray(archive[: at + 46] + archive[at + 47 :])
    content[at + 28 : at + 30] = b"\0\0"
    content[-10] -= 1  # the size of the directory
    return bytes(content)


def archives() -> dict[str, bytes]:
    """Bombs, names that lead elsewhere, lies about sizes, and cut archives."""
    two = zip_of({"a.jpg": b"x" * 50, "b.jpg": b"y" * 50})
    lie = bytearray(two)
    at = two.index(b"PK\x01\x02")
    lie[at + 24 : at + 28] = struct.pack("<I", 2**31)  # the unpacked size in the directory
    encrypted = bytearray(two)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[two.index(mark) + offset] |= 1
    return {
        "two files": two,
        "nothing": zip_of({}),
        "bomb": zip_of({"a.jpg": bytes(10**7)}),
        "too many": zip_of({str(number): b"" for number in range(30)}),
        "very many": zip_of({str(number): b"" for number in range(2000)}, zipfile.ZIP_STORED),
        "names that lead elsewhere": zip_of({"../../a.jpg": b"x", "/etc/passwd": b"x", "C:\\a": b"x"}),
        "no name": _nameless(zip_of({"n": b"x"})),
        "archive in an archive": zip_of({"a.zip": zip_of({"a.zip": two})}),
        "size that is a lie": bytes(lie),
        "encrypted": bytes(encrypted),
        "rare compression": zip_of({"a.jpg": b"x" * 50}, zipfile.ZIP_LZMA).replace(b"\x0e\x00", b"\x63\x00"),
        "cut": two[:-25],
        "only a beginning": b"PK\x03\x04",
    }


CORPUS: dict[str, Callable[[], dict[str, bytes]]] = {
    "picture": pictures,
    "form": forms,
    "packet": packets,
    "archive": archives,
}


def mutations(seeds: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield inputs like the given ones, each with a few bytes changed, removed, repeated or taken from another.

    Args:
        seeds: The inputs to start from.
        count: How many to yield.
        seed: Seed of the random numbers.
    """
    rng = random.Random(seed)
    for _ in range(count):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content) + 1)
            match rng.randrange(5):
                case 0:
                    content[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del content[at : at + rng.randint(1, 40)]
                case 2:
                    content[at:at] = content[at : at + rng.randint(1, 40)]
                case 3:
                    content[at : at + 4] = struct.pack(
                        rng.choice("<>") + "I", rng.choice([0, 1, 2**31 - 1, 2**32 - 1])
                    )
                case _:
                    other = rng.choice(seeds)
                    start = rng.randrange(len(other) + 1)
                    content[at : at + 20] = other[start : start + 20]
        yield bytes(content)
