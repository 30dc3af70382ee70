"""Mutations inside a packing, so that a checksum or a compressor does not keep the fuzzer out."""

import contextlib
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

__all__ = ["Plain", "in_gzip", "in_mat", "in_npy", "in_parquet", "in_png", "in_zip", "packed", "zipped"]

Plain = Callable[[bytes, int], bytes]
MOST = 2**18  # bytes after unpacking
DAMAGE = (EOFError, OSError, zlib.error, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, KeyError)


def packed(data: bytes) -> bytes:
    """The same bytes gzipped, always to the same."""
    return gzip.compress(data, 6, mtime=0)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive, always the same for the same members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def in_gzip(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """Mutate what a gzip file holds; the file itself one time in four, and where it is none."""
    if seed % 4 and data.startswith(b"\x1f\x8b"):
        with contextlib.suppress(*DAMAGE), gzip.open(io.BytesIO(data)) as file:
            return packed(plain(file.read(MOST), most))[:most]
    if seed % 64 == 0 and not data.startswith(b"\x1f\x8b"):
        return packed(data)[:most]
    return plain(data, most)


def in_zip(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """Mutate one member of an archive or its name; the archive itself one time in four."""
    if seed % 4:
        with contextlib.suppress(*DAMAGE), zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()[:32]
            if infos:
                return one_changed(archive, infos, most, random.Random(seed), plain)
    return plain(data, most)


def one_changed(
    archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], most: int, chance: random.Random, plain: Plain
) -> bytes:
    """The archive with one member changed, named anew, doubled or left out."""
    members = [(info.filename, archive.open(info).read(MOST)) for info in infos]
    place, what = chance.randrange(len(members)), chance.randrange(16)
    name, body = members[place]
    if what == 0:
        members[place] = (plain(name.encode("utf-8", "replace"), 200).decode("latin-1"), body)
    elif what == 1:
        members.append(members[place])
    elif what == 2:
        del members[place]
    else:
        members[place] = (name, plain(body, most))
    out = io.BytesIO()
    method = chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(out, "w", method) as changed:
        for key, value in members:
            changed.writestr(zipfile.ZipInfo(key), value, method)
    return out.getvalue()[:most]


def in_mat(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """Mutate inside a compressed element of a MATLAB file and mend its length."""
    if seed % 4 and len(data) > 136:
        with contextlib.suppress(*DAMAGE, struct.error):
            kind, size = struct.unpack_from("<II", data, 128)
            if kind == 15:
                inner = zlib.decompressobj().decompress(data[136 : 136 + size], MOST)
                body = zlib.compress(plain(inner, most))
                return (data[:128] + struct.pack("<II", 15, len(body)) + body + data[136 + size :])[:most]
    return plain(data, most)


def in_png(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """Mutate a picture, then mend the checksums of a PNG file's chunks."""
    changed = bytearray(plain(data, most))
    start = bytes(changed).find(b"\x89PNG\r\n\x1a\n")
    if start < 0 or seed % 4 == 0:
        return bytes(changed)
    place = start + 8
    while place + 12 <= len(changed):
        size = struct.unpack_from(">I", changed, place)[0]
        if place + 12 + size > len(changed):
            break
        check = zlib.crc32(changed[place + 4 : place + 8 + size])
        struct.pack_into(">I", changed, place + 8 + size, check)
        place += 12 + size
    return bytes(changed)


def in_npy(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """One time in two, a header of NumPy's format with sides, a type and a version drawn at random."""
    if seed % 2:
        return plain(data, most)
    chance = random.Random(seed)
    sides = [chance.choice((0, 1, 2, 3, 8, 9, -1, 255, 2**16, 2**31, 2**63, 2**64, "True", "1.5")) for _ in range(8)]
    shape = "(" + "".join(f"{side}," for side in sides[: chance.choice((0, 1, 2, 2, 2, 3, 4, 8))]) + ")"
    kind = chance.choice("<>|=") + chance.choice("buifcmMOSUVg?") + str(chance.choice((0, 1, 2, 4, 8, 16, 10**9)))
    fields = {"descr": repr(kind), "fortran_order": chance.choice(("False", "True", "0")), "shape": shape}
    header = "{" + ", ".join(f"{key!r}: {value}" for key, value in fields.items() if chance.randrange(20)) + "}\n"
    version = chance.choice((1, 1, 2, 3))
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    body = data[-chance.choice((16, 32, 128)) :] * chance.choice((1, 1, 8))
    return (b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + body)[:most]


def in_parquet(data: bytes, most: int, seed: int, plain: Plain) -> bytes:
    """One time in three the file, its description at the end, or a new table of random columns."""
    if seed % 3 == 0:
        return plain(data, most)
    if seed % 3 == 1 and data.endswith(b"PAR1") and len(data) > 12:
        size = struct.unpack("<I", data[-8:-4])[0]
        if 0 < size <= len(data) - 12:
            footer = plain(data[-8 - size : -8], most)
            return (data[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1")[-most:]
    return table_of(random.Random(seed))[:most]


def table_of(chance: random.Random) -> bytes:
    """A parquet file of a few columns of any type."""
    import pyarrow as pa
    from pyarrow import parquet

    n, columns = chance.choice((0, 1, 2, 8, 8, 8, 8, 300)), {}
    kinds = [pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.string(), pa.binary(2), pa.null()]
    kinds += [pa.timestamp("ns"), pa.date32(), pa.decimal128(9, 2), pa.list_(pa.int8()), pa.struct([("q", pa.int8())])]
    for name in chance.sample(["a", "b", "c", "word", "", "a.b", "\x1b[0m"], chance.randrange(1, 4)):
        kind = chance.choice(kinds)
        fixed = {"list": [1], "struct": {"q": 1}, "string": chance.choice("ab")}
        value = fixed.get(str(kind).split("<")[0])
        value = value if value is not None else b"xy" if pa.types.is_fixed_size_binary(kind) else chance.choice((0, 1))
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            column = pa.array([value if chance.randrange(9) else None for _ in range(n)], kind)
            columns[name] = column.dictionary_encode() if chance.randrange(4) == 0 else column
    out, packing = io.BytesIO(), chance.choice(("none", "snappy", "gzip", "zstd", "lz4", "brotli"))
    with contextlib.suppress(pa.ArrowException):
        parquet.write_table(pa.table(columns), out, compression=packing, row_group_size=chance.choice((1, 3, 1000)))
    return out.getvalue()
