"""One rank of a small training run; writes its losses and final weights.

python distributed_worker.py RANK RANKS STORE_FILE OUT none|ddp|fsdp
"""

import copy
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard
from torch.nn.parallel import DistributedDataParallel

from partwise.capability.language import token_loss
from partwise.graph.transformer import transformer_map
from partwise.interventions.masks import is_inside, layers_keeping
from partwise.loss import SharePenalty, ShareSchedule
from partwise.loss.contributions import Contributions
from partwise.loss.in_force import InForce
from partwise.loss.sharding import whole
from partwise.modules import Partition
from partwise.tasks.streams import known_streams
from partwise.train.gpt import GPT, GPTConfig

STEPS, BATCH, CONTEXT = 14, 8, 8


def shard(model):
    for block in model.blocks:
        fully_shard(block, mesh=init_device_mesh("cpu", (2,)))
    return fully_shard(model, mesh=init_device_mesh("cpu", (2,)))


WRAPPERS = {"none": lambda model: model, "ddp": DistributedDataParallel, "fsdp": shard}


def train(rank, ranks, out, kind):
    corpus = known_streams(("letters", "digits"), "it was the best of times. " * 100)
    model = GPT(GPTConfig(len(corpus.vocabulary), CONTEXT, 16, 4, 1))
    wrapped = WRAPPERS[kind](model)
    schedule = ShareSchedule(
        start=3,
        ramp=4,
        refresh_every=4,
        lag=1,
        mask_after=2,
        probes=150,
        watch_every=2,
        mask_share=0.6,
    )
    penalty = SharePenalty(
        model, lambda step: corpus.batch("claims", 150, CONTEXT, (step,)), schedule, wrapped=wrapped
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses, kinds = [], set()
    for step in range(STEPS):
        ids = corpus.batch("train", BATCH, CONTEXT + 1, (step,))[rank::ranks]
        logits = penalty.run(ids[:, :-1])
        pressed = penalty()
        kinds |= {("pressed", bool(pressed > 0)), ("masked", penalty._masks_this_step())}
        loss = token_loss(logits, ids[:, 1:]) + pressed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert len(kinds) == 4
    weights = {name: whole(p).contiguous() for name, p in model.named_parameters()}
    save_file({**weights, "losses": torch.stack(losses), "labels": penalty.labels}, out)


def check_tied():
    """A sharded GPT-2: tied and transposed weights, unequal shards, shards of columns."""
    from transformers import GPT2Config, GPT2LMHeadModel  # slow to import

    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=15, n_head=3, n_layer=1, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(config).eval()
    sharded = copy.deepcopy(plain)
    by_columns = {"shard_placement_fn": lambda p: Shard(p.dim() - 1)}
    fully_shard(sharded.transformer.h[0].mlp.c_fc, mesh=init_device_mesh("cpu", (2,)), **by_columns)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (2,)))
    units = transformer_map(sharded)
    labels = torch.arange(units.n) % 3
    ids = torch.arange(8).repeat(2, 1)
    found, pulls = [], []
    for model in (plain, sharded):
        again = model is sharded
        with layers_keeping(model, units, partial(is_inside, labels), again):
            logits = model(ids).logits
        capacity = Contributions(InForce(model, units))
        capacity.in_force.put(Partition.of(labels))
        loss = 3 * logits.square().mean() + capacity.masses().trace()
        loss.backward()
        pulls.append(capacity.pull(labels.numpy(), 3))
        found.append([loss.detach(), *(whole(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(*pulls, rtol=1e-5)


def main():
    rank, ranks, store, out, kind = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    torch.set_num_threads(1)
    if ranks > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=ranks
        )
    train(rank, ranks, Path(out), kind)
    if kind == "fsdp":
        check_tied()
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
