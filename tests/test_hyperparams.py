"""YAML of other libraries: tags are read as plain data, and nothing of it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtok.checkpoints.untrusted import read_yaml
from semtok.errors import CheckpointError


def test_yaml_tags_are_plain_data(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "width: 2\n"
        "generator: !new:torch.nn.Linear\n  in_features: !ref <width>\n  out_features: 3\n"
        "run: !apply:os.mkdir [canary]\nname: !name:os.mkdir\nsizes: [[1, 3], [5]]\nlater: !include:/etc/passwd\n"
    )
    assert read_yaml(tmp_path / "x.yaml") == {
        "width": 2,
        "generator": {"in_features": "<width>", "out_features": 3},
        "run": ["canary"],
        "name": "",
        "sizes": [[1, 3], [5]],
        "later": "",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x: !!python/object/apply:os.mkdir [canary]", "python/object/apply:os.mkdir"),
        ("x: !!python/name:os.mkdir ''", "python/name:os.mkdir"),
        ("x: !!python/module:os ''", "python/module:os"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\nx: !name:os.mkdir ''", "python/name:os.mkdir"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
            "more than",
        ),
        (
            "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)),
            "more than",
        ),
        ("x: &x [*x]", "within what it stands for"),
        ("x: " + "[" * 100 + "]" * 100, "nested more than 50"),
        ("x: " + "y" * (1 << 18), "more than 262144 bytes"),
        ("x: *nowhere", "undefined alias"),
        ("- a\n- b", "found list"),
        ("1: a", "expected names and values"),
        ("x: 9999-99-99", "month must be in"),
        ("x: [", "no YAML of plain data"),
        ("", "found NoneType"),
    ],
)
def test_hostile_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_yaml("x.yaml")
    assert "x.yaml" in str(caught.value)
    assert not (tmp_path / "canary").exists()
