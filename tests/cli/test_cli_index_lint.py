"""`keys lint-index`: identifiers pass, attributes are refused, and no value is printed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from consent_gateway.cli.main import cli
from consent_gateway.errors import InputError


def lint(*arguments: str):
    return CliRunner().invoke(cli, ["keys", "lint-index", *arguments])


def test_an_identifier_passes_and_an_attribute_is_refused(tmp_path):
    path = tmp_path / "people.csv"
    rows = "".join(f"Person{n}@Example.org,{('f', 'm')[n % 2]}\n" for n in range(1200))
    path.write_text("email,gender\n" + rows)
    good = lint(str(path), "--field", "email", "--kind", "email", "--json")
    assert good.exit_code == 0
    found = json.loads(good.output)
    assert (found["rows"], found["distinct"], found["ok"], found["objections"]) == (1200, 1200, True, [])
    bad = lint(str(path), "--field", "gender", "--json")
    assert bad.exit_code == 1
    found = json.loads(bad.output)
    assert (found["distinct"], found["ok"], len(found["objections"])) == (2, False, 2)
    assert found["min_entropy_bits"] == 1.0


def test_ndjson_counts_what_has_no_normal_form_and_passes_over_blanks(tmp_path):
    path = tmp_path / "people.ndjson"
    lines = [json.dumps({"phone": f"0151 {n:08}"}) for n in range(11000000, 11001000)]
    path.write_text("\n".join([*lines, "", json.dumps({"phone": "12"}), json.dumps({"phone": None}), json.dumps({})]))
    found = json.loads(lint(str(path), "--field", "phone", "--kind", "phone", "--region", "DE", "--json").output)
    assert (found["rows"], found["without_normal_form"], found["ok"]) == (1000, 1, True)


def test_people_read_a_sentence_and_no_value(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("city\n" + "Springfield\n" * 1000 + "Shelbyville\n")
    shown = lint(str(path), "--field", "city")
    assert shown.exit_code == 1
    assert "not to be indexed" in shown.output
    assert "Springfield" not in shown.output
    path.write_text("id\n" + "".join(f"X{n}\n" for n in range(1000)))
    assert "looks like an identifier" in lint(str(path), "--field", "id").output


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.csv", b"a,b\n1,2\n", "no such column"),
        ("p.csv", b"a,field\n1,\xff\n", "UTF-8"),
        ("p.csv", b'a,field\n1,"2"x\n', "RFC 4180"),
        ("p.ndjson", b"{}\n[1]\n", "line 2"),
        ("p.ndjson", b"nonsense\n", "line 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    found = lint(str(path), "--field", "field").exception
    assert isinstance(found, InputError)
    assert says in found.detail
