import pytest
import torch

from partwise.loss.share_inputs import Senders, module_inputs

KINDS = [torch.float32, torch.float64, torch.bfloat16]  # the last is not compiled


def test_module_inputs_by_hand():
    weight = torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)  # one receiver, three senders
    module, scale = torch.tensor([0, 1, 0]), torch.tensor([1.0, 10.0, 1.0])
    into = module_inputs([weight], [Senders(module, scale, False)], 2)
    assert into.tolist() == [[4.0, 20.0]]  # 1 + 3 from module 0, 2 * 10 from module 1
    (into * torch.tensor([[1.0, 5.0]])).sum().backward()
    assert weight.grad.tolist() == [[1.0, -50.0, 1.0]]
    other = weight.detach().T.contiguous()
    assert torch.equal(module_inputs([other], [Senders(module, scale, True)], 2), into)


@pytest.mark.parametrize("transposed", [False, True])
def test_gradient_of_module_inputs(transposed):
    torch.manual_seed(0)
    a, b = (torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    scale = torch.rand(4, dtype=torch.float64)
    senders = [Senders(torch.tensor(m), scale, transposed) for m in ([0, 1, 1, 0], [1, 1, 0, 1])]
    assert torch.autograd.gradcheck(lambda *w: module_inputs(w, senders, 2), (a, b))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_are_not_compiled_agree(kind, transposed):
    torch.manual_seed(1)
    weight = torch.randn(6, 5).to(kind)
    weight[0, 0] = 0
    count = 6 if transposed else 5
    senders = [Senders(torch.randint(0, 3, (count,)), torch.rand(count), transposed)]
    found = []
    for stride in (1, 2):  # every second column is not contiguous
        wide = torch.zeros(6, 10, dtype=kind) if stride == 2 else torch.zeros(6, 5, dtype=kind)
        wide[:, ::stride] = weight
        leaf = wide[:, ::stride].detach().requires_grad_()
        into = module_inputs([leaf], senders, 3)
        (into * torch.arange(3)).sum().backward()
        found.append((into, leaf.grad))
    close = {"rtol": 1e-5, "atol": 1e-6} if kind != torch.bfloat16 else {"rtol": 2e-2, "atol": 2e-2}
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **close)
    assert found[0][1][0, 0] == 0
