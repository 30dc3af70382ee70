"""Files made to hurt: absurd headers, bombs, names that command a terminal, pipes; each is refused in one sentence."""

import gzip
import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import numpy as np
import pytest

from uncollapse.data import counts, load, norb, omniglot, svhn
from uncollapse.data.arrays import read_arrays
from uncollapse.data.folders import sorted_out
from uncollapse.data.idx import read_idx
from uncollapse.data.images import View, show
from uncollapse.data.lines import read_lines
from uncollapse.data.mat import read_mat
from uncollapse.data.pickles import read_pickle
from uncollapse.data.stored import Store
from uncollapse.errors import BadInput
from uncollapse.limits import regular, room

READERS = [read_idx, read_arrays, read_pickle, lambda path: read_mat(path, ["x"]), lambda path: list(read_lines(path))]
HERE = "from uncollapse.data import load; import sys; load(sys.argv[1])"


def npy(header, body=b"", version=1, length=None):
    raw = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version == 1 else "<I", len(raw) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + body


def described(shape, kind="<f4", fortran=False):
    return f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': {shape!r}}}\n"


HEADERS = {
    "length": npy("{", version=2, length=2**32 - 1),
    "negative": npy(described((-1, -8)), bytes(32)),
    "one negative": npy(described((-1, 8)), bytes(32)),
    "overflow": npy(described((2**62, 2**62)), bytes(32)),
    "zero times much": npy(described((0, 2**62)), bytes(32)),
    "truth": npy(described((True, 2**40)), bytes(32)),
    "objects": npy(described((2,), "|O"), pickle.dumps([os.system, "true"])),
    "record": npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}\n", bytes(8)),
    "within": npy("{'descr': ('<f4', (2**30,)), 'fortran_order': False, 'shape': (2,)}\n", bytes(8)),
    "brackets": npy("]" * 50),
    "deep": npy("(" * 9000),
    "version": npy(described((2, 2)), bytes(16), version=3),
    "keys": npy("{'descr': '<f4'}\n"),
    "text": npy(described((2,), "<U999999999")),
    "magic": b"\x93NUMPX" + bytes(60),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_npy(tmp_path, name):
    path = tmp_path / "x.npy"
    path.write_bytes(HEADERS[name])
    with pytest.raises(BadInput, match=r"x\.npy"):
        read_arrays(path)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", HEADERS[name])
    with pytest.raises(BadInput, match=r"x\.npz"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["<u2", ">u4", "<u8", "<f2", "<i2", "?", ">f8", "<g"])
def test_numbers_that_torch_lacks_are_read(tmp_path, kind):
    """Found by fuzzing: 16 bits without sign, as cameras give them, were no type that torch compares."""
    x = np.arange(40).reshape(20, 2).astype(kind) if kind != "?" else np.eye(20, 2, dtype=bool)
    np.save(tmp_path / "x.npy", x)
    data = load(tmp_path / "x.npy", fractions=(0.5, 0.25, 0.25))
    found = np.concatenate([part.tensor().numpy() for part in data.parts.values()])
    assert np.array_equal(np.sort(found[:, 0]), np.sort(x[:, 0].astype(np.float32)))


def test_numbers_that_nothing_holds(tmp_path):
    np.save(tmp_path / "x.npy", np.full((20, 2), 2**64 - 1, np.uint64))
    with pytest.raises(BadInput, match=r"below 2\^63"):
        load(tmp_path / "x.npy")


def test_members_that_lie_over_each_other(tmp_path):
    """Many entries of the list lead to the same bytes: 64 kB that claim to be 3 GB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy(described((2**20, 8)), bytes(2**25)))
        for number in range(90):
            one = zipfile.ZipInfo(f"a{number}.npy")
            first = archive.getinfo("x.npy")
            one.header_offset, one.file_size, one.compress_size = 0, first.file_size, first.compress_size
            one.CRC, one.compress_type = first.CRC, first.compress_type
            archive.filelist.append(one)
    (tmp_path / "x.npz").write_bytes(buffer.getvalue())
    assert len(buffer.getvalue()) < 2**16
    with pytest.raises(BadInput, match="more than the 268435456 bytes that are accepted"):
        read_arrays(tmp_path / "x.npz")


def test_the_rule_and_how_it_is_lifted(tmp_path, monkeypatch):
    """A gzip file of 300 kB that holds 300 MB is refused, and read by who says so."""
    body = bytes([0, 0, 8, 1]) + struct.pack(">I", 300 * 2**20) + bytes(300 * 2**20)
    path = tmp_path / "x-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(body, 1, mtime=0))
    assert room(path.stat().st_size) < 300 * 2**20
    with pytest.raises(BadInput, match="if you trust the file, set UNCOLLAPSE_MAX_GIB=64"):
        read_idx(path)
    monkeypatch.setenv("UNCOLLAPSE_MAX_GIB", "1")
    assert read_idx(path).shape == (300 * 2**20,)
    monkeypatch.setenv("UNCOLLAPSE_MAX_GIB", "much")
    with pytest.raises(BadInput, match="should be a number of gibibytes"):
        read_idx(path)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_ordinary_file(tmp_path, reader):
    """A pipe is not waited for, a device not read to its end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, words in (
        ("pipe", "no ordinary file"),
        ("zero", "no ordinary file"),
        (".", "a folder"),
        ("no", "cannot"),
    ):
        with pytest.raises(BadInput, match=words):
            reader(tmp_path / name)
    with pytest.raises(BadInput, match="cannot read"):
        regular("a\0b")


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser reads everything")
@pytest.mark.parametrize("reader", READERS)
def test_what_may_not_be_read(tmp_path, reader):
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "x").chmod(0)
    with pytest.raises(BadInput, match="cannot read"):
        reader(tmp_path / "x")


def test_a_pipe_among_pictures(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "all").mkdir()
    for number in range(30):
        Image.new("L", (4, 4), number).save(tmp_path / "all" / f"{number}.png")
    os.mkfifo(tmp_path / "all" / "31.png")
    with pytest.raises(BadInput, match="no ordinary file"):
        load(tmp_path / "all")


def test_pictures_of_many_pixels():
    """A PNG of a few bytes that announces 100,000 x 100,000 pixels, and a long thin one."""
    for sides in ((100_000, 100_000), (2**31 - 1, 1), (1, 2**26)):
        chunk = b"IHDR" + struct.pack(">II5B", *sides, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        idat = b"IDAT" + zlib.compress(bytes(100))
        png += struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
        with pytest.raises(BadInput, match=r"pixels"):
            show(io.BytesIO(png), "it", View())


def test_names_of_pictures(tmp_path):
    """Names that command a terminal, hold line ends, or are no UTF-8 become classes, and stay text in messages."""
    from PIL import Image

    names = [b"\x1b[2J", b"a\nb", b"\xff\xfe", b"x" * 250, "\u202eevil".encode(), b"<script>"]
    for name in names:
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)  # noqa: PTH102  # bytes
        for number in range(4):
            Image.new("L", (4, 4)).save(os.fsdecode(folder) + f"/{number}.png")
    album = sorted_out(tmp_path, (0.5, 0.25, 0.25), 0)
    assert {os.fsencode(name) for name in album.classes} == set(names)
    shown = str(BadInput(f"{album.classes}".encode("utf-8", "surrogatepass").decode("utf-8", "replace")))
    assert "\x1b" not in shown
    assert "\u202e" not in str(BadInput(album.classes[-1] + "\u202e"))


DEEP = b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"K\x01u."


@pytest.mark.parametrize("content", [DEEP, b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s."])
def test_a_pickle_whose_key_is_nested_deeply(tmp_path, content):
    """Taking its hash would overrun the stack of C and kill the process."""
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadInput, match="has a tuple as a key"):
        read_pickle(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x04\x00\x00\x00evilK\x01sb.",  # state of a function
        b"\x80\x02cnumpy\nndarray\n}X\x05\x00\x00\x00stateK\x01sb.",  # state of a class
        b"\x80\x04\x8f(K\x01\x90.",  # a set
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # making an object without its class being called
        b"(inumpy\nndarray\n.",
        b"\x80\x02\x82\x01.",  # names by number
        b"Pid\n.",
    ],
)
def test_pickles_with_more_than_values(tmp_path, content):
    from uncollapse.data import pickles

    before = dict(vars(pickles.reconstruct)), dict(vars(pickles.Array))
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadInput):
        read_pickle(tmp_path / "x")
    assert (dict(vars(pickles.reconstruct)), dict(vars(pickles.Array))) == before


def test_texts_where_numbers_should_be(tmp_path):
    """A list of texts under the name of the labels or the images."""
    from scipy.io import savemat

    words = np.array(["a", "b"], dtype=object)
    digits = np.zeros((32, 32, 3, 2), np.uint8)
    savemat(tmp_path / "a.mat", {"X": digits, "y": words})
    with pytest.raises(BadInput, match="should be an array of numbers"):
        svhn.write(Store(), [tmp_path / "a.mat"] * 2)
    savemat(tmp_path / "b.mat", {"data": words, "testdata": words, "target": words, "testtarget": words})
    with pytest.raises(BadInput, match="should be an array of numbers"):
        omniglot.write(Store(), tmp_path / "b.mat")


def test_labels_of_norb_that_unpack_to_much(tmp_path):
    path = tmp_path / "x.mat.gz"
    path.write_bytes(gzip.compress(struct.pack("<II3I", 0x1E3D4C54, 1, 2**31 - 1, 1, 1) + bytes(2**24), mtime=0))
    with pytest.raises(BadInput, match="more than the 268435456 bytes"):
        norb.write(Store(), [path] * 4, "left", 96)


TEXTS = {
    "words.feat": (b"1 999999999:1\n" * 4, "more than the 268435456 bytes"),
    "zero.csv": (b"a,b\n1,\0\n", r"line 2 of .* has '\\x00' in column 'b', which is not a number"),
    "half.csv": ("a,b\n1,2\n".encode("utf-16"), "not a readable table"),
    "quote.csv": (b'a,b\n"' + b"1\n" * 70_000, "field larger than field limit"),
    "wide.csv": (b"1," * 9_000_000 + b"1\n", "ends an example of more than 16777216 characters"),
    "joined.csv": (b'"1\n",' * 4_000_000, "ends an example of more than 16777216 characters"),
    "score.csv": (b"a\n1_000\n", "'1_000' in column 'a', which is not a number"),
    "twice.csv": (b",".join(b"c%d" % n for n in range(100_000)) + b",c9\n1\n", "two columns 'c9'"),
    "name.csv": (b"\x1b[2Ja\n1\nx\n", r"column '\\x1b\[2Ja'"),
    "lines.txt": (b"a b\n\xff\n", "line 2 of .* is not UTF-8"),
    "zero.txt": (b"a b\n\0\n", "zero byte"),
    "long.txt": (b"x" * 2**21, "more than 1048576 bytes"),
    "label.txt": (b"1" * 5000 + b"\ta\n", "a label of 5000 bytes"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_texts(tmp_path, name):
    content, words = TEXTS[name]
    (tmp_path / name).write_bytes(content)
    started = time.process_time()
    with pytest.raises(BadInput, match=words):
        load(tmp_path / name)
    assert time.process_time() - started < 10


def test_blanks_that_only_utf8_knows(tmp_path):
    """A line of no-break spaces is not empty as bytes, but has no word."""
    assert counts.parse_words([b"cat 1", b"\xc2\xa0", b"dog"], "it") == ("cat", "dog")


def test_a_text_of_many_words_in_little_memory(tmp_path):
    """A gzip file of a few kilobytes that holds four million words."""
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"a a a a a a a a\n" * 2**19, mtime=0))

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))

    subprocess.run([sys.executable, "-c", HERE, str(path)], check=True, preexec_fn=limit)


def test_a_text_that_unpacks_to_much(tmp_path):
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 2**21, 1, mtime=0))
    with pytest.raises(BadInput, match="has more than 1048576 bytes"):
        load(path)
    path.write_bytes(gzip.compress((b"a" * 2000 + b"\n") * 140_000, mtime=0))
    with pytest.raises(BadInput, match="more than the 268435456 bytes of text"):
        load(path)
