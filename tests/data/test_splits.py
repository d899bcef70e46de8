from audiogen.data.splits import cluster_texts, held_out_prompts, near_duplicates, words_of


def test_words_ignore_case_and_punctuation():
    assert words_of("Don't press 1, please!") == ("don't", "press", "1", "please")


def test_near_duplicates_differ_in_a_word_or_two():
    base = words_of("please enter your password followed by the pound key")
    assert near_duplicates(base, words_of("Please enter your extension followed by the pound key."))
    assert not near_duplicates(base, words_of("goodbye"))
    assert not near_duplicates(base, words_of("your message has been saved and sent to the operator"))


def test_clusters_are_transitive_and_complete():
    texts = {
        "a": "one two three four",
        "b": "one two three five",
        "c": "one two six five",
        "d": "nothing alike here",
    }
    clusters = cluster_texts(texts)
    assert sorted(map(sorted, clusters)) == [["a", "b", "c"], ["d"]]


def test_no_test_prompt_has_a_twin_in_training():
    texts = {f"p{i}": f"prompt number {i} of many {'x' * i} words {i * i}" for i in range(60)}
    texts |= {f"t{i}": f"please press {i} now to hear the menu again" for i in range(20)}
    test, kept_out = held_out_prompts(texts, 0.05)
    training = set(texts) - kept_out
    assert set(test) <= kept_out
    assert not any(near_duplicates(words_of(texts[a]), words_of(texts[b])) for a in test for b in training)
    clusters = [set(c) for c in cluster_texts(texts)]
    assert all(sum(name in cluster for name in test) <= 1 for cluster in clusters)
    assert (test, kept_out) == held_out_prompts(dict(reversed(texts.items())), 0.05)


def test_short_prompts_stay_in_training():
    texts = {"a": "yes", "b": "no thanks", "c": "one whole sentence here"}
    assert held_out_prompts(texts, 0.34) == (["c"], {"c"})
