import pytest

from harness import progress
from harness.progress import Advance, Silent, Watch


class Noted:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def stage(self, name: str, total: int) -> Advance:
        self.said.append(("stage", name, total))
        return lambda steps: self.said.append(("advance", steps))

    def done(self, name: str) -> None:
        self.said.append(("done", name))

    def note(self, text: str) -> None:
        self.said.append(("note", text))


def test_a_stage_is_shown_and_its_time_counted_by_kind() -> None:
    noted = Noted()
    watch = Watch(noted)
    with watch.stage("training", "train a", 3) as advance:
        advance(2)
    with watch.timed("prediction"):
        pass
    watch.note("look")
    assert noted.said == [("stage", "train a", 3), ("advance", 2), ("done", "train a"), ("note", "look")]
    assert set(watch.seconds) == {"training", "prediction"}
    assert min(watch.seconds.values()) >= 0
    assert watch.notes == ["look"]


def test_a_stage_that_fails_is_closed_and_counted_too() -> None:
    noted = Noted()
    watch = Watch(noted)
    with pytest.raises(ZeroDivisionError), watch.stage("training", "train a", 3):
        _ = 1 / 0
    assert noted.said[-1] == ("done", "train a")
    assert "training" in watch.seconds


def test_every_moment_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    watch = Watch(Silent())
    now += 1
    with watch.timed("other"):
        now += 2
        with watch.stage("filtering", "filter", 1):
            now += 4
            with watch.timed("embedding"):
                now += 8
            now += 16
        with watch.timed("filtering"):
            now += 32
        now += 64
        assert watch.seconds == {"other": 66, "filtering": 52, "embedding": 8}
        now += 128
    now += 256
    assert watch.seconds == {"other": 194, "filtering": 52, "embedding": 8}


def test_a_silent_one_takes_everything() -> None:
    watch = Watch(Silent())
    with watch.stage("data", "load", 1) as advance:
        advance(1)
    watch.note("unseen")
    assert watch.notes == ["unseen"]
