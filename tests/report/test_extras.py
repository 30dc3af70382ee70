"""Tables of the noise test and of a critic's bound."""

from uncollapse.report.extras import bound_table, noise_table


def test_noise_is_averaged_over_seeds_and_absent_where_not_measured():
    results = [
        {"arm": "a", "seed": seed, "noise": [{"variance": 0.0, "value": 0.0}, {"variance": 1.0, "value": 3.0 + seed}]}
        for seed in (0, 1)
    ]
    lines = noise_table(["a", "b"], [*results, {"arm": "b", "seed": 0}]).splitlines()
    assert lines[-1] == "| a | 0.0 | 3.5 |"
    assert "s² = 1" in lines[-3]
    assert noise_table(["b"], [{"arm": "b", "seed": 0}]) == ""


def test_bound_is_shown_at_a_few_moments_with_the_last():
    history = [
        {"step": s, "bounds": {"self_critic": s / 10}, "mi_lower": s / 8, "mi_upper": s / 7} for s in range(1, 21)
    ]
    lines = bound_table(["a"], [{"arm": "a", "seed": 0, "history": history}]).splitlines()
    assert 5 <= len(lines) - 5 <= 7
    assert lines[-1] == "| a | 20 | 2.00 | 2.50 | 2.86 |"
    assert bound_table(["a"], [{"arm": "a", "seed": 0, "history": [{"step": 1}]}]) == ""
