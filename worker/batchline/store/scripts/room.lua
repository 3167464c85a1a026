#!lua flags=allow-oom
-- The room of a budget, apart from one batch.
-- KEYS 1 the account's open batches (hash)  2 its believed limits (hash)
-- ARGV 1 pool  2 most tokens  3 most requests in it (0: no limit known)  4 now (ms)  5 batch to leave out, or ''
-- Returns {tokens sent, requests sent, batches sent, most tokens, most requests}; a limit of 0 is none.
--@include room
local limits = room_limits(KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local sent = room_used(KEYS[1], ARGV[1], '', ARGV[5], true)
return {sent.tokens, sent.requests, sent.batches, limits.tokens, limits.requests}
