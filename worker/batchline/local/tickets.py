"""Support tickets to classify: a deterministic sample of the main job, varied in product, problem, tone and length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

INSTRUCTIONS = (
    "Classify the support ticket. Answer with one word: billing, shipping, account or technical. "
    "Then give the urgency from 1 (can wait) to 5 (the customer cannot work)."
)


@dataclass(frozen=True, slots=True)
class SupportTicket:
    """One customer's message; ``category`` is what a right classification would say."""

    id: str
    category: str
    text: str


_PRODUCTS = (
    "the Fjord 13 laptop",
    "my Pebble e-reader",
    "the Orbit smart lamp",
    "our Harbor team plan",
    "the Lumen desk camera",
    "the Tidal noise-cancelling headphones",
    "my Aster fitness band",
    "the Quill note app",
    "our Beacon router",
    "the Cedar standing desk",
)
_PROBLEMS: dict[str, tuple[str, ...]] = {
    "billing": (
        "I was charged twice for {product}: {amount} EUR on {day} and again the day after.",
        "The invoice for {product} shows {amount} EUR although the offer said {less} EUR.",
        "I returned {product} on {day} and have not seen the refund of {amount} EUR yet.",
        "My card was declined when I paid {amount} EUR for {product}, but the payment shows up at my bank.",
    ),
    "shipping": (
        "{product} was to be delivered on {day}, and the parcel has not moved since.",
        "The parcel with {product} arrived open, and the power supply is missing.",
        "Shipping says {product} was delivered on {day}. Nobody here received it.",
        "Please send {product} to order {order} to my new address, it has not left your warehouse.",
    ),
    "account": (
        "I cannot log in to register {product}: the password mail never comes.",
        "Since {day} my login for {product} asks for a code from a phone that I no longer have.",
        "Please close my account and delete all data about {product}.",
        "A colleague left us; how do I move {product} from his account to mine?",
    ),
    "technical": (
        "{product} freezes about {count} times a day since the update of {day}.",
        "There is an error {code} whenever I connect {product}.",
        "{product} crashes as soon as I open more than {count} files.",
        "{product} loses the connection every {count} minutes. A bug, I suppose.",
    ),
}
_OPENINGS = (
    "Hello,",
    "Hi there!",
    "Dear support team,",
    "To whom it may concern:",
    "Hey,",
    "Good morning,",
    "Third message about this now.",
)
_TRIED = (
    "I have restarted everything and read your help pages.",
    "Your chat could not help me.",
    "Nothing changed after I followed your last mail step by step.",
    "I looked in the settings but found nothing that fits.",
    "My neighbour has the same and no trouble at all.",
    "A photo is attached.",
)
_CLOSINGS = (
    "Please answer before {day}, I need it for work.",
    "No hurry. Thanks for your help!",
    "If this is not solved this week I want my money back.",
    "Could somebody call me? Mornings are best.",
    "Very disappointed. I have been a customer for {count} years.",
    "Kind regards, {name}",
    "Grüße aus Köln, {name} 🙂",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "3 March", "17 June", "30 September")
_NAMES = ("Aiko", "Bruno", "Chloé", "Dmitri", "Elif", "Femi", "Greta", "Hamza", "Ines", "Jürgen", "Kasia", "Łukasz")


def support_tickets(number: int, *, seed: int = 7) -> Iterator[SupportTicket]:
    """Yield so many tickets with ids ``ticket-00001`` on; the same seed gives the same tickets, no two texts are equal."""
    dice = random.Random(seed)
    categories = sorted(_PROBLEMS)
    for place in range(1, number + 1):
        category = dice.choice(categories)
        yield SupportTicket(f"ticket-{place:05d}", category, _text(dice, category, place))


def _text(dice: random.Random, category: str, place: int) -> str:
    facts = _facts(dice)
    parts = [
        dice.choice(_OPENINGS),
        dice.choice(_PROBLEMS[category]).format(**facts),
        *dice.sample(_TRIED, dice.randint(0, 3)),
        dice.choice(_CLOSINGS).format(**facts),
        f"(order {facts['order']}-{place})",
    ]
    text = " ".join(parts)
    return text.upper() if dice.random() < 0.03 else text


def _facts(dice: random.Random) -> dict[str, str]:
    amount = dice.randint(12, 900)
    return {
        "product": dice.choice(_PRODUCTS),
        "amount": f"{amount}.{dice.randint(0, 99):02d}",
        "less": str(max(1, amount - dice.randint(5, 60))),
        "day": dice.choice(_DAYS),
        "order": str(dice.randint(100_000, 999_999)),
        "count": str(dice.randint(2, 30)),
        "code": f"0x{dice.randint(0x1000, 0xFFFF):04X}",
        "name": dice.choice(_NAMES),
    }
