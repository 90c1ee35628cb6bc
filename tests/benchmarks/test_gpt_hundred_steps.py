import pytest
from transformers import GPT2Config

from benchmarks.gpt_hundred_steps import measured
from partwise.loss import ShareSchedule


def test_both_stretches_are_timed_and_a_partition_is_found_beside_the_steps():
    config = GPT2Config(
        vocab_size=60, n_layer=1, n_embd=16, n_head=2, bos_token_id=0, eos_token_id=0
    )
    schedule = ShareSchedule(
        start=0, ramp=1, mask_after=0, freeze_after=100, refresh_every=4, lag=2, probes=256
    )
    row = measured(config, 1024, "cpu", schedule, rounds=2)
    assert row["modules"] == 2
    assert len(row["plain_s"]) == len(row["ours_s"]) == 2
    ratios = [b / a for a, b in zip(row["plain_s"], row["ours_s"], strict=True)]
    assert row["overhead_frac"] == pytest.approx(sum(ratios) / 2 - 1)
