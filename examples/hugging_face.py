"""A pretrained model in Hugging Face's layout is trained on until it comes apart."""

import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

from partwise.runs import evaluate, open_network
from partwise.stages import cut_run
from partwise.tasks.streams import letters_of, sums
from partwise.train import finetune, recipe_from


def pretrained(place: Path, texts: list[Path], steps: int) -> None:
    """Stands for a model from the hub: a small GPT-2 with a tokenizer, trained as usual."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train([str(t) for t in texts], trainers.BpeTrainer(vocab_size=200, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe)
    torch.manual_seed(0)
    sizes = {"n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 200}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None))
    streams = [torch.tensor(tokenizer(t.read_text())["input_ids"]) for t in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = [torch.randint(len(s) - 33, (16, 1)) + torch.arange(33) for s in streams]
        ids = torch.cat([ids[row] for ids, row in zip(streams, rows, strict=True)])
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)


def main(steps: int = 500) -> None:
    """Makes the directory, fine-tunes it, and compares."""
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder, english = Path(name), "\n".join(topics[each] for each in sorted(topics))
        texts = [folder / "letters.txt", folder / "digits.txt"]
        texts[0].write_text(letters_of(english)[: 600 * steps])
        texts[1].write_text(sums(60 * steps, np.random.default_rng(0)))
        pretrained(folder / "gpt2", texts, steps // 2)
        settings = [f"steps={steps}", f"start={steps // 10}", f"ramp={steps // 3}", "lr=1e-3"]
        recipe = recipe_from({"data": {"texts": [str(t) for t in texts]}}, settings=settings)
        finetune(folder / "run", str(folder / "gpt2"), texts, recipe)
        print(cut_run(open_network(folder / "run"))[1].modules, "modules")
        change = evaluate(folder / "run").loss.sentence().split(":")[0]
        print("held-out loss beside its start:", change)
        GPT2LMHeadModel.from_pretrained(folder / "run" / "model")  # loads without Partwise


if __name__ == "__main__":
    main()
