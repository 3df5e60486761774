import torch

from ser_core.models.standardise import Standardise

MEAN, DEVIATION = torch.tensor([0.0, 20.0, -3.0]), torch.tensor([0.05, 2.0, 0.5])


def test_features_come_out_alike() -> None:
    generator = torch.Generator().manual_seed(2)
    standardise = Standardise(3).train()
    for _ in range(200):
        standardise(MEAN + DEVIATION * torch.randn(16, 3, generator=generator))
    features = MEAN + DEVIATION * torch.randn(2_000, 3, generator=generator)
    out = standardise.eval()(features)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(3), rtol=0, atol=0.3)
    torch.testing.assert_close(out.std(dim=0), torch.ones(3), rtol=0, atol=0.2)
    torch.testing.assert_close(standardise(features[:1]), out[:1], rtol=0, atol=0)


def test_the_first_batch_counts_whole_and_scoring_changes_nothing() -> None:
    standardise = Standardise(2).train()
    features = torch.tensor([[1.0, 5.0], [3.0, 9.0]])
    out = standardise(features)
    torch.testing.assert_close(out, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) / 2**0.5, rtol=1e-4, atol=0)
    before = {name: value.clone() for name, value in standardise.state_dict().items()}
    standardise.eval()(features + 100)
    torch.testing.assert_close(dict(standardise.state_dict()), before, rtol=0, atol=0)


def test_a_batch_of_one_window_is_taken() -> None:
    standardise = Standardise(2).train()
    assert standardise(torch.tensor([[4.0, 2.0]])).tolist() == [[0.0, 0.0]]
    assert standardise.variance_P.tolist() == [1.0, 1.0]


def test_two_passes_before_one_backward() -> None:
    standardise = Standardise(2).train()
    features = torch.randn(4, 2, requires_grad=True)
    (standardise(features).square().sum() + standardise(2 * features).sum()).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
