"""Addresses and hashes of published files."""

import re

from uncollapse.data import about, names
from uncollapse.data.places import find_file
from uncollapse.data.published import FILES, HASHES, published


def test_every_entry_is_well_formed_and_belongs_to_a_data_set():
    assert set(FILES) <= set(names())
    for name in FILES:
        for remote in published(name):
            assert re.fullmatch(r"https://[\w.-]+/[\w./-]+", remote.url), remote.url
            assert re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
            assert remote.size > 0
            assert "/" not in remote.file
    assert all(re.fullmatch(r"[0-9a-f]{64}", known) for known in HASHES.values())
    assert published("nothing") == ()


def test_what_is_fetched_is_all_that_a_data_set_needs(tmp_path):
    for name in names():
        source = about(name)
        if source.remote:
            for remote in source.remote:
                (tmp_path / remote.file).touch()
            assert all(find_file(tmp_path, group) for group in source.files), name


def test_no_hash_occurs_twice():
    known = [remote.sha256 for name in FILES for remote in published(name)] + list(HASHES.values())
    assert len(set(known)) == len(known)
