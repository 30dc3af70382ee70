"""What every page shares: the script's fingerprint, and templates that escape and refuse unknown names."""

import base64
import hashlib

import jinja2
import pytest

from uncollapse.report.document import TEMPLATES, asset, duration, environment, fingerprint, write_page


def test_fingerprint_is_the_hash_of_the_bytes():
    script = "alert('ö')"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert fingerprint(script) == f"sha256-{digest}"


def test_templates_escape_and_refuse_unknown_names():
    engine = environment()
    assert engine.from_string("{{ x }}").render(x="<b>\"'") == "&lt;b&gt;&#34;&#39;"
    with pytest.raises(jinja2.UndefinedError):
        engine.from_string("{{ y }}").render(x=1)


def test_assets_are_the_files():
    assert asset("diagnosis.js") == (TEMPLATES / "diagnosis.js").read_text()
    assert "</script" not in asset("diagnosis.js")
    assert "</style" not in asset("page.css") + asset("diagnosis.css")


def test_half_signs_do_not_stop_the_writing(tmp_path):
    assert write_page("a\ud800b", tmp_path / "new" / "p.html").read_text() == "a?b"
    assert (tmp_path / "new" / "p.html").stat().st_mode & 0o777 == 0o644


def test_duration():
    assert [duration(x) for x in (None, 0.04, 59.9, 3600)] == ["–", "0.0 s", "59.9 s", "1 h 00 min"]
