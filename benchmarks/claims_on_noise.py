"""Are claims supported that say nothing? Untrained networks, labels independent of the inputs.

    python -m benchmarks.claims_on_noise --json benchmarks/results/claims_on_noise.jsonl

Claims of every kind that is about the answers or the parts, with bounds so vague that they would
hold of any part. None should be supported: none is beyond chance.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.records import write_result
from partwise.errors import DataWarning
from partwise.explain import Evidence, Subject, subject_of
from partwise.explain.claims import (
    ActivationClaim,
    Claim,
    EffectClaim,
    IgnoresClaim,
    InterfaceClaim,
    NoEffectClaim,
)
from partwise.explain.evidence import interface_evidence, module_evidence
from partwise.explain.verification import verify_claims
from partwise.tasks import task_from_arrays


def noise_subject(seed: int) -> Subject:
    """An untrained network with random halves, on 200 to 2,000 rows of noise."""
    rng = np.random.default_rng(seed)
    classes, wide = int(rng.integers(2, 5)), int(rng.integers(4, 12))
    rows = int(rng.choice([200, 600, 2000]))
    x = rng.normal(size=(rows, wide))
    y = rng.choice(classes, rows, p=rng.dirichlet(np.full(classes, 3.0)))
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(wide, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, classes)
    )
    labels = rng.integers(0, 2, wide + 20 + classes)
    labels[:2] = [0, 1]
    return subject_of(model, labels, task_from_arrays("noise", x, y, classes=range(classes)))


def vague_claims(subject: Subject) -> list[tuple[Evidence, Claim]]:
    """Claims that would hold of any part."""
    found: list[tuple[Evidence, Claim]] = []
    for module in (0, 1):
        evidence = module_evidence(subject, module)
        found += [
            (evidence, EffectClaim(head=0, minimum=0.001)),
            (evidence, NoEffectClaim(head=0, maximum=0.1)),
            (evidence, IgnoresClaim(head=0, maximum=0.1, inputs=(0, 1))),
        ]
        for profile in evidence.profiles:
            claim = ActivationClaim(
                unit=profile.unit,
                threshold=profile.threshold,
                condition=profile.best_answer,
                minimum_f1=max(0.01, profile.chance - 0.1),
            )
            found.append((evidence, claim))
    between = interface_evidence(subject, (0, 1))
    found.append((between, InterfaceClaim(head=0, relation="at least", amount=0.001)))
    found.append((between, InterfaceClaim(head=0, relation="at most", amount=0.1)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=900)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DataWarning)
    counts = Counter[str]()
    for seed in range(settings.seed, settings.seed + settings.networks):
        subject = noise_subject(seed)
        verdicts = verify_claims(subject, vague_claims(subject))
        counts.update(verdict.outcome for verdict in verdicts)
    record = {
        "networks": settings.networks,
        "seed": settings.seed,
        "claims": counts.total(),
        **{outcome: counts[outcome] for outcome in ("supported", "refuted", "undecided")},
        "supported_frac": counts["supported"] / counts.total(),
    }
    print(record)
    if settings.json:
        write_result(settings.json, record)


if __name__ == "__main__":
    main()
