#!lua flags=allow-oom
-- Whether a batch in `cut` may be sent as far as its account's room goes, asked before it is rendered: as its intent will be.
-- It takes, or keeps, the room that it wants of its budget, so that nothing new is cut into that.
-- KEYS 1 batch (hash)  2 the account's open batches (hash)  3 its believed limits (hash)  4 its creates (zset)
-- ARGV 1 fence  2 batch id  3 pool  4 most tokens  5 most requests in it (0: no limit known)  6 now (ms)
--      7 the share of it that is kept for small batches  8 into how many batches a lane divides the rest
--      9 most batches at the provider  10 most creates an hour  11 which pool each model counts in (JSON, or '')
-- Returns {'' or what there is no room in: 'open', 'creates', 'tokens' or 'requests', most tokens, most requests};
--   a limit of 0 is none. Error LEASELOST.
--@include fence
--@include room
local limits, sliver = room_limits(KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6]), tonumber(ARGV[7])
local batch = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'lane')
-- What it asked for at its last intent counts its riders too.
local requests, tokens = string.match(redis.call('HGET', KEYS[2], ARGV[2]) or '', ROOM)
requests = math.max(tonumber(requests or 0), tonumber(batch[1]), 1)
tokens = math.max(tonumber(tokens or 0), tonumber(batch[2]), 1)
local want = part_wanted(requests, tokens, limits, sliver, ARGV[8])
local sent = room_used(KEYS[2], ARGV[3], '', ARGV[2], true, ARGV[11])
local short
if sent.sent >= tonumber(ARGV[9]) then
  short = 'open'
elseif creates_full(KEYS[4], KEYS[3], ARGV[10], ARGV[6]) then
  short = 'creates'
else
  short = no_room(sent, limits, want.requests, want.tokens, sliver, true, false)
end
redis.call('HSET', KEYS[2], ARGV[2], room_entry(want.requests, want.tokens, '0', ARGV[3], batch[3]))
return {short or '', limits.tokens, limits.requests}
