"""The generated support tickets of the demo."""

from __future__ import annotations

from batchline.local.tickets import support_tickets


def test_the_same_seed_gives_the_same_tickets() -> None:
    assert list(support_tickets(50)) == list(support_tickets(50))
    assert list(support_tickets(50)) != list(support_tickets(50, seed=8))


def test_a_longer_sample_begins_with_a_shorter_one() -> None:
    assert list(support_tickets(60))[:50] == list(support_tickets(50))


def test_no_two_texts_are_equal_and_all_categories_occur() -> None:
    tickets = list(support_tickets(2_000))
    assert len({ticket.text for ticket in tickets}) == len({ticket.id for ticket in tickets}) == 2_000
    assert {ticket.category for ticket in tickets} == {"billing", "shipping", "account", "technical"}
