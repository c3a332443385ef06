import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from finetuning.losses import in_batch
from fusion.ragged import Ragged
from retrievers.dense_batches import Batches
from retrievers.dense_examples import Examples
from retrievers.dense_loss import NextItem
from retrievers.dense_reading import Reader, history_texts
from retrievers.encoder import Encoder

TEXTS = ("crime 1", "war 2 3 4", "space", "music and romance 5", "comedy", "the story of war")
#: (user, target, history)
ROWS = [(0, 4, [0, 1]), (1, 3, [2]), (2, 5, [1, 2, 0])]


class Table(torch.nn.Module):
    """An encoder that knows the vector of each text by its first token."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, features):
        return {"sentence_embedding": self.vectors[features["input_ids"][:, 0]]}


@pytest.fixture
def encoder(tiny_encoder):
    return Encoder.load(tiny_encoder, "float32")


def reader(encoder, *, user="mean", group=32, met=None, **options):
    examples = Examples(
        np.arange(3),
        np.array([r[0] for r in ROWS], np.int32),
        np.array([r[1] for r in ROWS], np.int32),
        Ragged.of(r[2] for r in ROWS),
    )
    batches = Batches(
        examples=examples,
        size=3,
        met=Ragged.of(met or [[0, 1, 4], [2, 3], [1, 2, 0, 5]]),
        share_history=user == "mean",
        seed=0,
    )
    return Reader(
        **{
            "batches": batches,
            "encoder": encoder,
            "texts": TEXTS,
            "user": user,
            "half_life": 1.0,
            "count": 2,
            "item_tokens": 16,
            "user_tokens": 16,
            "log_q": np.zeros(6, np.float32),
            "group": group,
            **options,
        }
    )


def loss_of(model, batch, **options):
    return NextItem(model, scale=20.0, **options)(batch["features"], batch["lesson"])


@pytest.mark.parametrize("user", ["mean", "text"])
@pytest.mark.parametrize("group", [1, 2, 32])
def test_it_is_the_softmax_of_what_the_retriever_would_say(encoder, user, group):
    """A naive loop with the encoder asked for each text by itself."""
    log_q = np.log(np.linspace(0.1, 0.6, 6)).astype(np.float32)
    read = reader(encoder, user=user, group=group, log_q=log_q)
    batch, met = read.batches[0], read.batches.met
    vectors = encoder.encode(TEXTS, tokens=16, batch_size=1, exact=True).astype(float)
    losses = []
    for owner, target, history in ROWS:
        if user == "mean":
            vector = sum(0.5**age * vectors[item] for age, item in enumerate(history[::-1]))
        else:
            text = " ".join(TEXTS[item] for item in history[::-1][:2])
            vector = encoder.encode([text], tokens=16, batch_size=1, exact=True)[0]
        vector = vector / np.linalg.norm(vector)
        logits = {
            int(item): 20 * vector @ vectors[item] - log_q[item]
            for item in batch.items
            if item == target or item not in met[owner]
        }
        losses.append(np.log(sum(np.exp(x) for x in logits.values())) - logits[target])
    encoder.model.eval()
    with torch.no_grad():
        found = loss_of(encoder.model, read([{"number": 0}]))
    assert float(found) == pytest.approx(np.mean(losses), abs=1e-4)


def test_it_is_the_librarys_loss_where_nothing_is_shared_or_corrected(encoder):
    read = reader(encoder, user="text", met=[[], [], []])
    batch = read([{"number": 0}])
    anchors = history_texts(Ragged.of(r[2] for r in ROWS), TEXTS, 2)
    positives = [TEXTS[r[1]] for r in ROWS]
    encoder.model.eval()
    with torch.no_grad():
        features = [dict(encoder.reading(16).preprocess(side)) for side in (anchors, positives)]
        theirs = MultipleNegativesRankingLoss(encoder.model, scale=20.0)(features, None)
        assert float(loss_of(encoder.model, batch)) == pytest.approx(float(theirs), abs=1e-5)
        sides = [encoder.model(dict(side))["sentence_embedding"] for side in features]
        assert float(in_batch(*sides)) == pytest.approx(float(theirs), abs=1e-5)


def lesson(**options):
    return {
        "order": torch.tensor([1, 0, 2]),
        "members": torch.tensor([2, 2]),
        "owners": torch.tensor([0, 1]),
        "shares": torch.ones(2),
        "targets": torch.tensor([0, 1]),
        "allowed": torch.ones(2, 2, dtype=torch.bool),
        "log_q": torch.zeros(2),
        "weights": torch.ones(2),
        **options,
    }


VECTORS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
#: the tokens hold text 1, then text 0, then the users' text, as `order` says
FEATURES = [{"input_ids": torch.tensor([[1]])}, {"input_ids": torch.tensor([[0], [2]])}]


def told(**options):
    loss = NextItem(Table(VECTORS), scale=2.0)
    return float(loss(FEATURES, lesson(**options)))


def test_by_hand():
    # both users are text 2 = (1, 0): cosine 1 with item 0 and 0 with item 1, times 2
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    assert told() == pytest.approx((right + wrong) / 2)
    weights = torch.tensor([3.0, 1.0])
    assert told(weights=weights) == pytest.approx((3 * right + wrong) / 4)
    # corrected by log q = (0, -2): the second item's logit is 0 + 2
    corrected = torch.tensor([0.0, -2.0])
    assert told(log_q=corrected) == pytest.approx(np.log(2))
    # the second user met item 0: nothing is left to lose to
    allowed = torch.tensor([[True, True], [False, True]])
    assert told(allowed=allowed) == pytest.approx(right / 2)


def test_r_drop_adds_how_far_two_passes_are_apart(encoder):
    batch = reader(encoder)([{"number": 0}])
    with torch.no_grad():
        encoder.model.eval()
        plain = loss_of(encoder.model, batch)
        assert float(loss_of(encoder.model, batch, r_drop=9.0)) == pytest.approx(
            float(plain), rel=1e-5
        )
        encoder.model.train()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            little = float(loss_of(encoder.model, batch, r_drop=1e-9))
            torch.manual_seed(0)
            much = float(loss_of(encoder.model, batch, r_drop=9.0))
    assert much > little
    assert np.isfinite(much)


def test_no_gradient_is_nan_where_items_are_masked(encoder):
    batch = reader(encoder)([{"number": 0}])
    encoder.model.train()
    loss_of(encoder.model, batch, r_drop=1.0).backward()
    grads = [p.grad for p in encoder.model.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_texts_are_read_once_in_groups_of_like_length_and_said_in_other_words(encoder):
    seen = []

    def rewrite(texts, rng):
        seen.extend(texts)
        return [text.replace("war", "space") for text in texts]

    read = reader(encoder, group=2, rewrite=rewrite)
    batch = read([{"number": 0}])
    assert sorted(seen) == sorted(TEXTS)
    widths = [group["input_ids"].shape[1] for group in batch["features"]]
    assert widths == sorted(widths)
    assert sum(len(group["input_ids"]) for group in batch["features"]) == len(TEXTS)
    assert sorted(batch["lesson"]["order"].tolist()) == list(range(len(TEXTS)))


def test_history_texts_has_the_newest_first():
    assert history_texts(Ragged.of([[0, 1, 2], [4]]), TEXTS, 2) == ["space war 2 3 4", "comedy"]
