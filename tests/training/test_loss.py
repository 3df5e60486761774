import torch
from torch.nn.functional import cross_entropy, kl_div

from ser_core.training.config import Distillation
from ser_core.training.data.batches import Batch
from ser_core.training.learner import divergence, loss_of_windows

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0]], requires_grad=True)
TARGET = torch.tensor([[0.9, 0.05, 0.05], [0.0, 1.0, 0.0]])


def batch(teacher_BC: torch.Tensor | None) -> Batch:
    return Batch(torch.zeros(2), TARGET, teacher_BC, 2)


def test_the_teachers_part_is_scaled_by_the_square_of_the_temperature() -> None:
    teacher = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    expected = kl_div((LOGITS / 2).log_softmax(dim=1), teacher, reduction="none").sum(dim=1)
    torch.testing.assert_close(divergence(LOGITS / 2, teacher), expected)
    settings = Distillation(teachers=["one"], weight=0.25, temperature=2.0)
    labels_part = cross_entropy(LOGITS, TARGET, reduction="none")
    whole = 0.75 * labels_part + 0.25 * 4 * expected
    torch.testing.assert_close(loss_of_windows(LOGITS, batch(teacher), settings), whole)
    torch.testing.assert_close(loss_of_windows(LOGITS, batch(None), settings), labels_part)


def test_several_classifiers_are_judged_each_by_itself() -> None:
    others = LOGITS.detach() + torch.tensor([[0.0, 3.0, -1.0], [1.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    settings = Distillation(teachers=["one"], weight=0.25, temperature=2.0)
    each = [loss_of_windows(logits, batch(teacher), settings) for logits in (LOGITS, others)]
    together = loss_of_windows(torch.stack([LOGITS, others], dim=1), batch(teacher), settings)
    torch.testing.assert_close(together, (each[0] + each[1]) / 2)
