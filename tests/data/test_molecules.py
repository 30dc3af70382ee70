"""SMILES strings, from small files of the same format."""

import gzip

import pytest
import torch

from uncollapse.data import decode, load
from uncollapse.data.molecules import SIGNS, split_smiles
from uncollapse.errors import BadInput

SMILES = [
    "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1",
    "C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1",
    "N#Cc1ccc(-c2ccc(O[C@@H](C(=O)N3CCCC3)c3ccccc3)cc2)cc1",
    "Clc1ccc(Br)cc1/C=C\\C[N+](=O)[O-]",
    "OS(=O)(=O)C%12CCCCC%12.I.P",
]


@pytest.fixture(autouse=True)
def _no_real_data(monkeypatch, tmp_path):
    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))


def write(path, count, zipped=False):
    path.parent.mkdir(exist_ok=True)
    raw = "".join(f"{'C' * k}{SMILES[k % 5]}\n" for k in range(count)).encode()
    path.write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CBr", ["C", "Br"]),
        ("ClC", ["Cl", "C"]),
        ("[nH]1cc[C@@H]1", ["[nH]", "1", "c", "c", "[C@@H]", "1"]),
        ("C%12C", ["C", "%12", "C"]),
        ("BC", ["B", "C"]),
        ("C/C=C\\C", list("C/C=C\\C")),
        ("", []),
        ("C#N acetonitrile of somebody", ["C", "#", "N"]),
    ],
)
def test_atoms(smiles, tokens):
    assert [token.decode() for token in split_smiles(smiles.encode())] == tokens


@pytest.mark.parametrize("smiles", ["CQ", "C[", "C]", "C[C[N]]", "C{", "É", "%1", "hello", "C[]"])
def test_what_is_no_smiles_string(smiles):
    with pytest.raises(BadInput, match="SMILES"):
        split_smiles(smiles.encode())


@pytest.mark.parametrize("smiles", SMILES)
def test_tokens_join_back(smiles):
    assert b"".join(split_smiles(smiles.encode())).decode() == smiles
    assert [sign.decode() for sign in split_smiles(smiles.encode(), SIGNS)] == list(smiles)


@pytest.mark.parametrize("atoms", [True, False])
def test_zinc_held_out(tmp_path, atoms):
    write(tmp_path / "zinc" / "valid.txt", 40)
    write(tmp_path / "zinc" / "test.txt", 20)
    data = load("zinc-held-out", data_dir=tmp_path, atoms=atoms, valid=10)
    assert [len(part) for part in data.parts.values()] == [30, 10, 20]
    assert data.train.x.dtype == torch.uint8
    assert data.name == "zinc-held-out"
    assert "held out" in data.note
    assert ("Br" in data.vocabulary) == ("[C@@H]" in data.vocabulary) == atoms
    found = decode(data.test.x, data.vocabulary, between="")
    assert found == [f"{'C' * k}{SMILES[k % 5]}" for k in range(20)]
    with pytest.raises(BadInput, match=r"train\.txt.*zinc-held-out"):
        load("zinc", data_dir=tmp_path)
    write(tmp_path / "zinc" / "train.txt.gz", 60, zipped=True)
    whole = load("zinc", data_dir=tmp_path, atoms=atoms, limit=50, longest=5)
    assert [len(part) for part in whole.parts.values()] == [50, 40, 20]
    assert whole.shape == (6,)
    assert whole.name == "zinc"


@pytest.mark.parametrize("name", ["mine.smi", "mine.SMILES"])
def test_a_file_of_ones_own(tmp_path, name):
    path = tmp_path / name
    path.write_text("".join(f"{SMILES[k % 5]}\tmolecule {k}\n" for k in range(50)))
    data = load(path)
    assert data.name == "mine"
    assert [len(part) for part in data.parts.values()] == [40, 5, 5]
    assert set(decode(data.train.x, data.vocabulary, between="")) <= set(SMILES)
    path.write_text("C\nCC\nhello\n")
    with pytest.raises(BadInput, match=r"line 3 of .*: 'hello' is not a SMILES string"):
        load(path)
