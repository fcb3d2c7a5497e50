"""Why synthetic rows fall short of real ones, and whether dev leaked into them: the detectors of `eval/` on a run.

Anchors and dev items enter as vectors and predictions only. Nothing in here steers: it is called once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.leak import dev_test_difference, nearest_distance_asymmetry
from eval.outcomes import rights
from eval.shift import answer_noise, coverage, label_noise, two_sample_auc
from harness.bench import Bench
from harness.records import Example, LabelNoise, Prediction, Role
from harness.reports import Diagnosis
from harness.store import Artefact

REFERENCE_MODEL = "all_real"
"""The arm whose answers stand in for the truth of synthetic labels and answers: it has seen most real rows and no
synthetic one, and no filter asks it. The students that vote in the filters would only confirm what they let through."""


def diagnose(
    bench: Bench,
    accepted: Sequence[Example],
    adapters: Mapping[str, Artefact],
    test: Sequence[Example],
    answers: Mapping[str, Sequence[Prediction]],
) -> Diagnosis:
    """`accepted` are the synthetic training rows of the delivered model, `test` the opened test items with every arm's
    `answers` (both empty where the test stays sealed)."""
    seed, rule = bench.spec.seed, bench.spec.evaluate
    dev_items = bench.data.examples[Role.DEV]
    anchors, made, dev = (
        bench.embedder([one.text for one in examples])
        for examples in (bench.data.examples[Role.ANCHOR], accepted, dev_items)
    )
    leak = dev_test = None
    if test:
        leak = nearest_distance_asymmetry(made, dev, bench.embedder([one.text for one in test]))
        on_dev = bench.students.predict(adapters["mixed"], dev_items)
        dev_test = dev_test_difference(
            rule.metric, dev_items, on_dev, test, answers["mixed"], resamples=rule.resamples, seed=seed
        )
    return Diagnosis(
        dialect=two_sample_auc(anchors, made, seed),
        dialect_reference=two_sample_auc(anchors, dev, seed),
        coverage=coverage(anchors, made, dev, seed=seed),
        label_noise=_label_noise(bench, accepted, adapters, dev_items),
        leak=leak,
        dev_test=dev_test,
    )


def _label_noise(
    bench: Bench, accepted: Sequence[Example], adapters: Mapping[str, Artefact], dev: Sequence[Example]
) -> LabelNoise | None:
    if REFERENCE_MODEL not in adapters:
        return None
    on_made, on_dev = (bench.students.predict(adapters[REFERENCE_MODEL], examples) for examples in (accepted, dev))
    if bench.spec.task.answer:
        return answer_noise((~rights(accepted, on_made)).tolist(), (~rights(dev, on_dev)).tolist())
    return label_noise(
        [one.label for one in accepted],
        [one.label for one in on_made],
        [one.label for one in dev],
        [one.label for one in on_dev],
        len(bench.students.labels),
    )
