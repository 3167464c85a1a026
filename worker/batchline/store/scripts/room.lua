#!lua flags=allow-oom
-- Whether a batch in `cut` may be sent as far as its budget goes, asked before it is rendered. Where it may not, it keeps the
-- room that it wants, so that nothing new is cut into that.
-- KEYS 1 batch (hash)  2 the account's open batches (hash)  3 its believed limits (hash)
-- ARGV 1 fence  2 batch id  3 pool  4 most tokens  5 most requests in it (0: no limit known)  6 now (ms)
--      7 the share of it that is kept for small batches  8 into how many batches a lane divides the rest
-- Returns {1 or 0, most tokens, most requests}; a limit of 0 is none. Error LEASELOST.
--@include fence
--@include room
local limits, sliver = room_limits(KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6]), tonumber(ARGV[7])
local batch = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'lane')
-- What it asked for at its last intent counts its riders too.
local requests, tokens = string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', ROOM)
requests = math.min(math.max(tonumber(requests or 0), tonumber(batch[1]), 1), part(limits.requests, sliver, ARGV[8]))
tokens = math.min(math.max(tonumber(tokens or 0), tonumber(batch[2]), 1), part(limits.tokens, sliver, ARGV[8]))
local sent = room_used(KEYS[2], ARGV[3], '', ARGV[2], true)
local full = no_room(sent, limits, requests, tokens, sliver, true, false)
if full then
  redis.call('HSET', KEYS[2], ARGV[2], room_entry(requests, tokens, '0', ARGV[3], batch[3]))
end
return {full and 0 or 1, limits.tokens, limits.requests}
