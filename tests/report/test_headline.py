from uncollapse.report import rows
from uncollapse.report.headline import findings, headline


def said(study, arms, **options):
    header, results = study(arms, images=False, **options)
    table = rows(results, header["arms"], header["seeds"])
    return headline(table), " ".join(findings(table)), table


def test_the_winner_and_the_baseline_are_named_with_their_numbers(study, six_arms):
    sentence, more, table = said(study, six_arms)
    best = max(table, key=lambda row: row.cells["mi_lower"].mean)
    assert best.arm.lower() in sentence.lower()
    assert f"{best.cells['mi_lower'].mean:.2f}" in sentence
    assert f"{table[0].cells['mi_lower'].mean:.2f}" in sentence
    assert "collapsed for plain VAE" in more
    assert "12.7 standard errors" in more


def test_the_sentence_follows_the_numbers(study, six_arms):
    plain, critic = six_arms["plain VAE"], six_arms["self critic"]
    assert said(study, {"a": plain, "b": plain})[0].startswith("All 2 methods collapsed")
    assert said(study, {"rich": critic, "poor": plain})[0].startswith(
        "No other method keeps more information than rich"
    )
    assert said(study, {"poor": plain, "rich": critic})[0].startswith("Rich keeps at least 4.9")
    assert said(study, {"only": critic})[0].startswith("Only keeps at least 4.9")


def test_saturation_missing_runs_and_one_seed_are_said(study, six_arms):
    values = (20.0, 8.0, 0.1, 5.88, 0.5, 16, "healthy", None)
    _, more, _ = said(study, {"full": values}, seeds=(1,))
    assert "reached its ceiling log N = 5.89" in more
    assert "One seed says nothing" in more
    header, results = study(six_arms, images=False)
    assert "missing or failed: plain VAE (1 of 2 seeds)" in " ".join(
        findings(rows(results[1:], header["arms"], header["seeds"]))
    )


def test_likelihoods_are_ranked_only_where_the_pairs_tell_them_apart(study, six_arms):
    header, results = study({name: six_arms[name] for name in ("plain VAE", "self critic")}, images=False)

    def second(*nlls):
        for result, nll in zip(results, nlls, strict=True):
            result["metrics"]["nll"]["value"] = nll
        return findings(rows(results, header["arms"], header["seeds"]))[1]

    assert second(20.0, 20.2, 20.3, 20.1).endswith("(20.10 nats) cannot be told apart with these seeds.")
    assert second(20.0, 20.2, 22.01, 22.2).startswith("The lowest NLL is 20.10 nats, by plain VAE; self critic")
    assert second(20.0, 20.2, 18.01, 18.2).startswith("Self critic also explains held-out data best")
    assert second(20.0, 20.2, 18.0, 20.1).startswith("The NLL of self critic (19.05 nats) and that of plain VAE (20.10")


def test_nothing_is_ranked_across_data_and_nothing_claimed_without_a_verdict(study, six_arms):
    header, results = study({"a": six_arms["plain VAE"], "b": six_arms["self critic"]}, images=False)
    for result in results[2:]:
        result["run"]["data_fingerprint"] = "other"
    table = rows(results, header["arms"], header["seeds"])
    assert headline(table) == "2 methods on different data or likelihoods: their numbers cannot be ranked."
    assert findings(table) == ["The verdict is healthy for b; collapsed for a."]
    unsure = (*six_arms["plain VAE"][:6], "undetermined", None)
    assert "cannot be told from these examples" in said(study, {"a": unsure})[0]
    assert "any of the 2 methods" in said(study, {"a": unsure, "b": six_arms["plain VAE"]})[0]


def test_crossed_bounds_are_about(study, six_arms):
    crossed = (*six_arms["plain VAE"][:4], -0.05, 1, "collapsed", None)
    sentence, _, table = said(study, {"a": crossed, "b": six_arms["self critic"]})
    assert f"keeps about {table[0].cells['mi_upper'].mean:.2f} to {table[0].cells['mi_lower'].mean:.2f}." in sentence


def test_a_study_without_results_says_so():
    assert headline(rows([], ["a"], [0])) == "No run has finished yet."
    assert findings(rows([], ["a"], [0]))[0] == "Still missing or failed: a (0 of 1 seed)."


def test_a_partial_collapse_that_keeps_the_most_is_put_into_words(study, six_arms):
    header, results = study({"few": six_arms["self critic"], "all": six_arms["free bits"]}, images=False)
    for result in results:
        result["verdict"]["word"] = "partial collapse" if result["arm"] == "few" else "healthy"
    more = " ".join(findings(rows(results, header["arms"], header["seeds"])))
    assert "not that the code does: few keeps the most information" in more
    for result in results:
        result["verdict"]["word"] = "healthy"
    assert "not that the code does" not in " ".join(findings(rows(results, header["arms"], header["seeds"])))
