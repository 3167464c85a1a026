"""A local stand-in for the batches of OpenAI, Anthropic and Gemini, their files and their realtime endpoints.

For the demo, the tests and offline development.  The providers' own SDKs talk to it over HTTP; it imports nothing of
the rest of batchline, and keeps a bill of its own (`GET /_emulator/bill`).

    python -m batchline.emulator --port 0 --latency 2 --seed 7

Jobs run by a clock, lines are answered from disk to disk, and every answer carries `sha256:<hex>` of the user's
message (embeddings and moderations: a key `sha256` beside each result).  A marker anywhere in the user's message
chooses what becomes of that request:

    marker              batch                                              realtime
    [[reject]]          refused with status 400, permanent                 400
    [[fail]]            error 500 every time, retryable                    500
    [[fail-once]]       error 500 in the first batch or call that has      the same
                        this message, answered in all later ones
    [[expire]]          not run before the window's end, never billed      answered
    [[expire-once]]     the same in the first batch only                   answered
    [[missing]]         no line in any result file (counts as failed)      answered
    [[missing-once]]    the same in the first batch only                   answered
    [[duplicate]]       its line stands twice (billed once)                answered
    [[cached]]          half of the input tokens were read from a cache    the same
    [[batch-fail-once]] dialect vllm: the first batch breaks off here      answered
    [[u2028]]           the answer holds raw U+2028, U+2029 and U+0085     the same
    [[blocked]]         Gemini: no candidates, for what was asked          the same

With Gemini a request refused or failed is a google.rpc.Status, and a batch with one `[[expire]]` expires as a whole,
without any result.  A call is Gemini's by its key (`x-goog-api-key` or `?key=`); base URL as for Anthropic: no path.

Quotas refuse as the providers do, and the bill's `quotas` tells the most that was used and how often that happened
(`quotas`).  Anthropic's marked prompts are written to a cache and read from it (`anthropic_cache`), OpenAI's when asked
for (`openai_cache`).  Options let OpenAI's routes play another service (`openai_dialects`).

`Options` sets latency, rates, limits, lag and seed; `serve` runs it as a process, `running` beside a test.  Single calls
are broken by `POST /_emulator/faults` (table in `transport_faults`; GET shows, DELETE disarms), batches and files of
other applications added by `POST /_emulator/foreign` (fields in `foreign`).
"""

from batchline.emulator.options import Options
from batchline.emulator.serve import Running, running, serve

__all__ = ["Options", "Running", "running", "serve"]
