import contextlib

import pytest

from partwise.train import Trainer


@pytest.fixture
def interrupted_at(monkeypatch):
    """`with interrupted_at(step):` runs what is inside, in which the run stops at that step."""

    @contextlib.contextmanager
    def at(step):
        advance = Trainer.advance

        def stop(trainer):
            if trainer.step == step:
                raise KeyboardInterrupt
            return advance(trainer)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "advance", stop)
            with pytest.raises(KeyboardInterrupt):
                yield

    return at
