import contextlib

import pytest

from partwise.train.gpt_loop import GPTTrainer


@pytest.fixture
def interrupted_at(monkeypatch):
    """`with interrupted_at(step):` runs what is inside, in which the run stops at that step."""

    @contextlib.contextmanager
    def at(step):
        advance = GPTTrainer.advance

        def stop(trainer):
            if trainer.step == step:
                raise KeyboardInterrupt
            return advance(trainer)

        with monkeypatch.context() as patch:
            patch.setattr(GPTTrainer, "advance", stop)
            with pytest.raises(KeyboardInterrupt):
                yield

    return at
