from __future__ import annotations

from squeezerl.search.candidates import default_recipes

PERCENTAGES = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70]


def test_every_method_offers_its_recipes() -> None:
    names = [recipe.name for recipe in default_recipes()]
    pruned = [f"{norm}-{percentage}" for norm in ("l1", "l2") for percentage in PERCENTAGES]
    assert names == ["bits-8", "bits-4", "ptdq", "ptsq", *pruned]
