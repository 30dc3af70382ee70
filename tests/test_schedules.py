import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.errors import BadInput
from uncollapse.schedules import Constant, Cyclical, Linear, arrival, as_schedule


def test_linear_by_hand():
    assert [Linear(1, 3, over=4, delay=2)(step) for step in range(8)] == [1, 1, 1, 1.5, 2, 2.5, 3, 3]
    assert [Linear(1, 0, over=2)(step) for step in range(4)] == [1, 0.5, 0, 0]


def test_cyclical_by_hand():
    schedule = Cyclical(over=20, cycles=2, ramp=0.5, start=0.5, end=1.0)
    assert [schedule(step) for step in range(0, 11)] == pytest.approx(
        [*(0.5 + 0.1 * i for i in range(6)), *[1.0] * 4, 0.5]
    )
    assert Cyclical(over=4, cycles=1, ramp=1.0)(3) == 0.75


@settings(deadline=None)
@given(
    st.integers(1, 50), st.integers(0, 20), st.floats(0, 5), st.floats(0, 5), st.integers(1, 6), st.floats(0.05, 1.0)
)
def test_they_stay_between_their_ends_and_stop_when_they_say(over, delay, start, end, cycles, ramp):
    for schedule in (Linear(start, end, over, delay), Cyclical(over * cycles, cycles, ramp, start, end)):
        low, high = min(start, end), max(start, end)
        assert all(low - 1e-9 <= schedule(step) <= high + 1e-9 for step in range(arrival(schedule) + 3))
        assert schedule(0) == pytest.approx(start)
        assert schedule(arrival(schedule)) == schedule(10**9) == pytest.approx(end)


def test_as_schedule():
    def own(step):
        return 2.0 * step

    assert as_schedule(own) is own
    assert as_schedule(3) == Constant(3.0)
    assert arrival(own) == 0
    assert arrival(Constant(2.0)) == 0


@pytest.mark.parametrize("wrong", ["1", None, True, [1.0]])
def test_as_schedule_refuses(wrong):
    with pytest.raises(BadInput, match="number or a function"):
        as_schedule(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(0, 1, over=0),
        lambda: Linear(0, 1, over=5, delay=-1),
        lambda: Cyclical(over=3, cycles=4),
        lambda: Cyclical(over=8, cycles=0),
        lambda: Cyclical(over=8, ramp=0.0),
        lambda: Cyclical(over=8, ramp=1.1),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(BadInput, match="expects"):
        make()


@pytest.mark.parametrize("schedule", [Constant(2.0), Linear(0, 1, 4), Cyclical(8)])
def test_they_are_frozen_values(schedule):
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(pickle.loads(pickle.dumps(schedule)))
    assert type(schedule).__name__ in repr(schedule)
    with pytest.raises(AttributeError):
        schedule.arrives = 3
