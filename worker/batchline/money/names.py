"""Whether a name is a model's own: an alias of it, or one with a date or the like behind it; a sibling's is not. Pure.

The price library finds most models by how their names begin, and so takes one that it does not know yet for the one that it knows
(`gemini-3.8-flash-lite` for `gemini-3.8-flash`). Such a sibling has another price: none is better than the wrong one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo

_VERSION = re.compile(
    r"(?:[-@](?:latest|stable|default|preview|exp|experimental|customtools"  # gemini-3.1-pro-preview-customtools costs the same
    r"|\d{3,4}|\d{6}|\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{2}-\d{4})"
    r"|(?<=gemma-3)-\d{1,2}b-it|(?<=gemma-3n)-e\db-it)+$"  # whatever its size, Gemma 3 has one entry
)
"""What may stand behind a model's name: which version it is. Google's dates are `09-2025` and `05-06`."""
_COMPACT = re.compile(r"-(\d{4})(\d{2})(\d{2})$")


def is_own(info: ModelInfo, name: str) -> bool:
    """Tell whether a name, by which the library finds a model, is that model's own and not a sibling's.

    A fine-tuned one belongs to the model that it was made of, whatever its owner called it (``ft:MODEL:OWNER:…``, Azure's
    ``MODEL.ft-…``): the library has entries for these.
    """
    name = name.lower()
    if not info.is_match(name):  # the library tries a date without dashes with them, too
        name = _COMPACT.sub(r"-\1-\2-\3", name)
    owned = re.match(r"ft:[^:]*|.*?\.ft-", name)
    family = _VERSION.sub("", owned[0] if owned else name)
    own_id = len(info.id) if name.startswith(info.id.lower()) else 0
    return max(own_id, _known(info.match, name)) >= len(family)


def _known(clause: MatchLogic, name: str) -> int:
    """Return how much of a name a clause of the library knows, from its beginning on; -1 where it does not match."""
    from genai_prices import types  # noqa: PLC0415 - it loads slowly; see rates.py

    if not clause.is_match(name):
        return -1
    match clause:
        case types.ClauseOr(or_=parts) | types.ClauseAnd(and_=parts):
            return max(_known(part, name) for part in parts)
        case types.ClauseStartsWith(starts_with=text):
            return len(text)
        case types.ClauseContains(contains=text):
            return name.index(text.lower()) + len(text)
        case types.ClauseRegex(regex=regex):
            found = re.search(regex, name)
            return found.end() if found else -1
        case _:  # the whole name, or its end
            return len(name)
