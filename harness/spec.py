"""What a person may write in a YAML file. Every model is frozen and refuses unknown keys.

`harness.specfile` reads the file and reports all problems at once with their lines. Everything outside
`runtime` can change a result and is part of artefact keys; what is in `runtime` cannot and is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.causalspec import CausalTrain
from harness.collapsespec import Generations, RoundProbe
from harness.filterspec import Filters
from harness.taskspec import Section, Task

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class PackagedSource(Section):
    kind: Literal["packaged"]
    name: Literal["trec", "sentiment", "trec_fields", "disfl_qa"]


class FileSource(Section):
    kind: Literal["file"]
    path: Path
    """.csv, .tsv, .jsonl or .parquet; relative paths start at the YAML file's folder."""
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = None
    """Only when the file's ending does not say it."""


class SavedSource(Section):
    kind: Literal["datasets"]
    path: Path
    """A folder written by `Dataset.save_to_disk`."""
    split: str | None = None


class HubSource(Section):
    kind: Literal["hub"]
    name: str
    split: str = "train"
    config: str | None = None
    revision: str | None = None


Source = Annotated[PackagedSource | FileSource | SavedSource | HubSource, Field(discriminator="kind")]


class Columns(Section):
    text: str = "text"
    label: str = "label"
    """Not read where the task has an `answer`."""
    answer: str = "answer"
    """The gold answer; read where the task has an `answer`."""
    context: str = "context"
    """What the answer is drawn from; read where `task.answer.context` is given."""
    id: str | None = None
    """A column of unique ids; without it ids come from the text."""
    group: str | None = None
    """Rows that share this value (one author, one document) stay on one side of the split."""


MADE_OFF = {
    "length": "data.slices.length: false",
    "first_word": "data.slices.first_word: false",
    "cluster": "data.slices.clusters: 0",
}
"""Slices that are made from the texts, and what switches each one off."""


class Slices(Section):
    """How real items are cut for reporting and steering. Labels are always slices."""

    columns: list[str] = []
    length: bool = True
    """Thirds of the word count, bounds taken from the seeds."""
    first_word: bool = True
    """The commonest first words of the seeds, the rest as `other`."""
    clusters: Count = 8
    """At most so many clusters of the seeds' embeddings (how many is found by silhouette); every item carries the
    nearest one as `cluster`. Below 2 there is no such slice."""
    cells: Literal["off", "seeds", "judge"] = "seeds"
    """Cut real items by the matrix's dimensions, so that these can be steered: `opening` by the first words,
    `describe` by tags of the seeds, which other items take over from the seed nearest to them. The tags come from the
    judge where `llm.judge` is an endpoint of your own and otherwise from the embedder, which is weak; `judge` asks
    even the embedded judge. `off` makes no such slices."""

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the slices that are made from the texts, in order; a column of the data cannot be called so."""
        known = {"length": self.length, "first_word": self.first_word, "cluster": self.clusters > 1}
        return tuple(name for name, wanted in known.items() if wanted)


class Split(Section):
    """Sizes of the roles, in items. See README, "Who sees which real item"."""

    seeds: PositiveInt = 120
    dev: PositiveInt = 300
    anchor: PositiveInt = 150
    test: PositiveInt = 500
    pool: Count = 0
    """Real items for the arms `real` and `all_real`; 0 where no more real data exists."""
    balance_seeds: bool = True
    """Draw the same number of seeds per label as far as possible, as a person who picks them would."""
    near_duplicate: Share = 0.92
    """Items with a cosine above this are one group and never sit on two sides of the split."""
    seed: Count | None = None
    """Seed of the split; the run's seed when not given."""


class Data(Section):
    source: Source
    columns: Columns = Columns()
    slices: Slices = Slices()
    split: Split = Split()


class Dimension(Section):
    """One axis of the variation matrix."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    values: dict[str, PositiveFloat] = Field(min_length=1)
    """Value → weight."""
    use: Literal["describe", "opening", "shots"] = "describe"
    """`describe`: the value is named in the prompt. `opening`: the generator continues a text that starts with
    the value (`any` leaves it free). `shots`: few-shot seeds are taken from the real slice `name=value`
    where the label has such seeds."""

    @model_validator(mode="before")
    @classmethod
    def _list_means_equal_weights(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("values"), list):
            return {**data, "values": {str(value): 1.0 for value in data["values"]}}
        return data


class Requirement(Section):
    """Where all of `when` holds, each dimension of `then` takes one of its values."""

    when: dict[str, str | list[str]] = Field(min_length=1)
    then: dict[str, str | list[str]] = Field(min_length=1)


class Matrix(Section):
    """The plan of what to vary. `label` is always the first dimension; add three to five of your own."""

    dimensions: list[Dimension] = Field(default=[], max_length=7)
    label_weights: dict[str, PositiveFloat] = {}
    """Label → weight in round 1; 1 when not given."""
    forbid: list[dict[str, str | list[str]]] = []
    """Combinations that make no sense, e.g. `{label: ABBR, length: long}`."""
    require: list[Requirement] = []
    """Values that belong together, e.g. `{when: {label: HUM}, then: {kind: [person, group]}}`."""
    cover: Annotated[int, Field(ge=1, le=3)] = 1
    """Strength of the design. 2: every allowed pair of values, labels included, is planned, as far as the calls of a
    round suffice, and what is left in the rounds after it; 3: every triple. 1: by the weights alone."""
    fit: bool = False
    """Weigh the values of each dimension as the seeds have them (see `data.slices.cells`), instead of as written."""


class Price(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)] = 0.0
    output: Annotated[float, Field(ge=0)] = 0.0


class Endpoint(Section):
    """Who answers for a role. `embedded` needs nothing; anything else speaks the OpenAI protocol over HTTP."""

    base_url: str = "embedded"
    """`embedded`, or e.g. `https://api.openai.com/v1`."""
    model: str = "SmolLM2-135M-Instruct"
    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself never stands in a file."""
    style: Literal["auto", "chat", "completion"] = "auto"
    """`completion` suits small base-like models and so the embedded one, `chat` everything else; `auto` knows that."""
    price: Price = Price()

    @property
    def embedded(self) -> bool:
        return self.base_url == "embedded"

    @property
    def chat(self) -> bool:
        """Whether prompts are chat messages."""
        return self.style == "chat" or (self.style == "auto" and not self.embedded)


class Limits(Section):
    """How hard an endpoint may be pressed; none of it changes an answer."""

    concurrency: PositiveInt = 4
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None
    timeout_s: PositiveFloat = 120.0
    max_retries: Count = 5


class Llm(Section):
    generator: Endpoint = Endpoint()
    judge: Endpoint = Endpoint(style="chat")
    critic: Endpoint = Endpoint()


class Sampling(Section):
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.9
    top_p: Share | None = None
    min_p: Share | Literal["auto"] | None = "auto"
    """Not part of the OpenAI protocol, sent as an extra field. `auto`: 0.05 for the embedded model, else not sent."""
    max_tokens: PositiveInt = 40


class Generate(Section):
    accepted_per_round: PositiveInt = 240
    """Target: so many rows a round, counted after all filters; those beyond it are used too where `filters.quota` is
    off."""
    over_generation: Annotated[float, Field(ge=1, le=20)] = 3.0
    """Candidates drawn per wanted row in a round's first wave; later waves use the yield measured in each cell."""
    max_waves: PositiveInt = 3
    """Attempt cap per round: after so many waves the round goes on with what it has and says why."""
    max_candidates: PositiveInt | None = None
    """Attempt cap per round, in candidates."""
    shots: Count = 5
    samples_per_call: PositiveInt = 8
    """Answers asked for per call (`n`); the few-shot block is then read once for all of them."""
    sampling: Sampling = Sampling()


class Lora(Section):
    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.05
    targets: list[str] = ["query", "key", "value", "dense"]
    upper_layers: PositiveInt | None = 3
    """Adapt only so many upper layers; the frozen lower ones are then computed once per text and reused over all
    steps and arms. `null` adapts every layer."""


class Train(Section):
    """The student and its recipe; every arm is trained with it."""

    model: str = "embedded"
    """`embedded` (all-MiniLM-L6-v2), or the folder of a `transformers` encoder built like BERT."""
    lora: Lora = Lora()
    learning_rate: PositiveFloat = 1e-3
    steps: PositiveInt = 200
    """Optimiser steps at most; the same for every arm, so that no arm is merely trained longer."""
    batch_size: PositiveInt = 32
    label_smoothing: Share = 0.05
    real_weight: PositiveFloat = 2.0
    """Weight of a real row against a synthetic one in the loss of `mixed`."""
    max_length: PositiveInt = 128
    """Tokens; longer texts are cut."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` computes in bfloat16 where the processor has instructions for it."""
    early_stop: bool = True
    """Stop when the training loss has stayed flat; dev is not looked at."""


ArmName = Literal["base", "seeds", "synthetic", "mixed", "real", "all_real"]
ControlName = Literal["static", "shuffled", "raw", "naive"]
PolicyName = Literal["quotas", "contrast", "shots", "critic", "relabel", "surplus"]


class AnswerJudge(Section):
    """The judge rates the students' answers on dev and, once it is opened, on test. **It then sees these items**, which
    nobody sees otherwise: keep it off where they must not go to its endpoint. For tasks with an `answer`. How the judge
    is asked, what counts as right and what it must show are `filters.judge`'s, its gate's truth is the gold answers."""

    enabled: bool = False
    arms: list[ArmName] = Field(default=["seeds", "mixed"], min_length=1)
    labelled: Annotated[int, Field(ge=20)] = 100
    """Items, drawn at random, whose gold answers the judge is held against; of the others the gold answer is not
    used."""


class Evaluate(Section):
    arms: list[ArmName] = ["base", "seeds", "synthetic", "mixed", "real", "all_real"]
    """What the student is trained on, see `harness/arms.py`."""
    each_round: list[ArmName] | None = None
    """The arms that are scored on dev after every round (`seeds` and `mixed` always are); the others are trained once,
    for the test. All of `arms` when not given, so that all three gaps are known by round."""
    controls: list[ControlName] = ["raw"]
    """What the loop is compared with at the same number of generator calls and of accepted rows. `raw`: the same
    candidates without filters. `static`: no feedback. `shuffled`: feedback under permuted slice names. `naive`: no
    matrix, "more like this". All but `raw` make as many calls again as the loop itself."""
    resamples: Annotated[int, Field(ge=200, le=100_000)] = 2000
    """Bootstrap resamples per interval."""
    metric: Literal["accuracy", "macro_f1", "token_f1", "rouge_l", "json_fields"] = "accuracy"
    """The score that gaps and the stop rule use; the others are reported beside it. For answers in text `accuracy` is
    the share of normalised exact matches; the last three are for answers only (`eval/answers.py`)."""
    judge: AnswerJudge = AnswerJudge()
    test: bool = True
    """Open the sealed test split at the end. `false` ends with the scores on dev, for trying variants out: every run
    that opens the same test items after the first one needs `--reopen-test`."""
    probe: RoundProbe = RoundProbe()


class Feedback(Section):
    """From the dev report to the next round's plan. The defaults are those that the measurements in
    `experiments/LOG.md` favour."""

    policies: list[PolicyName] = ["contrast"]
    """What may be done with the dev report (`harness/generate/policies.py`): `quotas` moves candidates to labels and
    slices that fail, `contrast` shows a confused label beside its neighbour, `shots` picks few-shot seeds from weak
    slices, `critic` adds a sentence written by the critic role, `relabel` doubts confused labels in the labeller's
    answer, `surplus` draws weak labels beyond their share and keeps the hardest rows. Empty: no feedback."""
    exploration: Share = 0.3
    """Share of the quotas that stays on the static plan, so that steering does not narrow coverage."""
    shrinkage: PositiveFloat = 10.0
    """κ of the shrunk error rate (errors + κ·p̄)/(n + κ)."""
    contrast_pairs: Count = 3
    """At most so many confused pairs are acted on; a pair needs 5 confusions on dev."""


class Stop(Section):
    max_rounds: PositiveInt = 2
    target: Share | None = None
    """Stop when dev reaches this score."""
    patience: PositiveInt = 1
    """Stop after so many rounds without a gain above `min_gain`."""
    min_gain: Annotated[float, Field(ge=0)] = 0.005
    """Ladder step η: a round counts as better only if dev gains more than this."""
    collapse: bool = True
    """Stop when the frozen probe (`evaluate.probe`) alarms."""


class Budget(Section):
    """Hard stops over all roles; what a resumed run has spent counts."""

    calls: PositiveInt | None = None
    tokens: PositiveInt | None = None
    usd: PositiveFloat | None = None
    minutes: PositiveFloat | None = None
    """Of work on the run, over all its processes: no call goes out after them. What is there is used."""


class Tracking(Section):
    enabled: bool = True
    uri: str | None = None
    """MLflow tracking URI; `mlflow.db` in the store when not given."""
    experiment: str | None = None
    """MLflow experiment; the spec's name when not given."""


class Runtime(Section):
    """Where and how fast; never part of a key."""

    store: Path = Path("runs")
    """Folder for artefacts, the call cache and the reports; relative to the working directory."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """Threads for training; `auto` takes the cores this process may use."""
    llm_threads: PositiveInt | Literal["auto"] = "auto"
    """Threads of the embedded LLM; `auto` measures at start, because its barrier collapses on a busy machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    limits: dict[Literal["generator", "judge", "critic"], Limits] = {}
    tracking: Tracking = Tracking()


STEPS_OF_A_WRITER = 60


class Spec(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: Count = 0
    task: Task
    data: Data
    matrix: Matrix = Matrix()
    llm: Llm = Llm()
    generate: Generate = Generate()
    filters: Filters = Filters()
    train: Train = Train()
    causal: CausalTrain = CausalTrain(steps=STEPS_OF_A_WRITER)
    """The student of a task with an `answer`; `train` is for classifiers."""
    evaluate: Evaluate = Evaluate()
    collapse: Generations = Generations()
    """For `harness collapse run` only."""
    feedback: Feedback = Feedback()
    stop: Stop = Stop()
    budget: Budget = Budget()
    runtime: Runtime = Runtime()
