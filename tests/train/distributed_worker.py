"""One rank of a small training run; writes its losses and final weights.

python distributed_worker.py RANK RANKS STORE_FILE OUT
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from partwise.capability.language import token_loss
from partwise.graph.transformer import transformer_map
from partwise.loss.shares import SharePenalty, ShareSchedule
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

STEPS, BATCH, CONTEXT = 14, 8, 8


def train(rank, ranks, out):
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 100)
    model = GPT(GPTConfig(len(corpus.vocabulary), CONTEXT, 16, 4, 1))
    wrapped = DistributedDataParallel(model) if ranks > 1 else model
    schedule = ShareSchedule(
        start=3, ramp=4, refresh_every=4, mask_after=2, probes=150, watch_every=2, mask_share=0.6
    )
    penalty = SharePenalty(
        model,
        transformer_map(model),
        lambda step: corpus.batch("probe", 150, CONTEXT, (step,)),
        schedule,
        wrapped,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for step in range(STEPS):
        ids = corpus.batch("train", BATCH, CONTEXT + 1, (step,))[rank::ranks]
        loss = token_loss(penalty.run(ids[:, :-1]), ids[:, 1:]) + penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    save_file({**weights, "losses": torch.stack(losses), "labels": penalty.labels}, out)


def main():
    rank, ranks, store, out = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    torch.set_num_threads(1)
    if ranks > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=ranks
        )
    train(rank, ranks, Path(out))
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
