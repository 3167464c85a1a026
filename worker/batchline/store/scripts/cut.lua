#!lua flags=allow-oom
-- Cut a lane's open range into a batch in state `cut`, if the account has room for it. The batch waits for a claim; its
-- agenda rings again later, in case the doorbell that the caller sends is lost.
-- KEYS 1 walk (hash)  2 batch (hash)  3 the account's open batches (hash)  4 the account's creates (zset)
--      5 the account (hash)  6 agenda of the accumulate role (zset)  7 ledger (hash)  8 ledgers (zset)  9 retry pool (zset)
--      10 the account's believed limits (hash)
-- ARGV 1 batch id  2 lane  3 account  4 the end of the open range as the caller saw it  5 trigger  6 now (ms)
--      7 most open batches  8 most creates an hour  9 ring again after (ms)  10 ledger name  11 key prefix of batches
--      12 '1' for a batch of riders alone: the open range stays as it is
--      13 pool of the lane's budget  14 most tokens  15 most requests in it (0: no limit known)
--      16 the share of it that is kept for small batches of lanes that have nothing open  17 into how many batches a lane
--      divides the rest  18 '1' where only that sliver is to be had  19 which pool each model counts in (JSON, or '')
-- Returns 'cut', or why not: 'moved' (the range is not as seen, or there is nothing to cut), 'waiting' (a batch of this lane
--   waits in `cut` that did not go again, or has looked for room since, or as many as a lane may have; or only the sliver is
--   to be had and the lane has something open), 'down' (the provider fails), 'open', 'creates', 'tokens' or 'requests' (no
--   room: batches that wait for theirs in other pools, unless somebody is at them, and those that were put off, take none of
--   the first two; but no pool has more of either than may be open).
--@include listed
--@include room
local id, now = ARGV[1], tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 'cut'
end
local open = redis.call('HMGET', KEYS[1], 'last', 'cut', 'requests', 'bytes', 'tokens', 'largest', 'cutting', 'per_token')
local last, riders_only = open[1] or '0-0', ARGV[12] == '1'
if last ~= ARGV[4] then
  return 'moved'
end
if (riders_only or (open[3] or '0') == '0') and redis.call('ZCOUNT', KEYS[9], '-inf', now) == 0 then
  return 'moved'
end
if now < tonumber(redis.call('HGET', KEYS[5], 'down_until') or 0) then
  return 'down'
end
-- One that went again is not waited for, since it may be put off for long: what its provider has no room for may be it alone.
local cutting = open[7] and redis.call('HMGET', ARGV[11] .. open[7], 'state', 'again') or {}
local put_off = tonumber(cutting[2] or 0) > 0 and string.find(redis.call('HGET', KEYS[3], open[7]) or '', '^0:')
if cutting[1] == 'cut' and not put_off then
  return 'waiting'
end
local used, sliver, parts = room_used(KEYS[3], ARGV[13], ARGV[2], '', false, ARGV[19]), tonumber(ARGV[16]), tonumber(ARGV[17])
if used.own >= parts then
  return 'waiting'
end
-- What waits in another pool takes a place while somebody is at it: it was told that there is room, and is uploaded.
local most, going = tonumber(ARGV[7]), 0
if used.sent + used.waiting + #used.elsewhere >= most then
  local clock = redis.call('TIME')
  for _, other in ipairs(used.elsewhere) do
    if tonumber(redis.call('HGET', ARGV[11] .. other, 'lease_until') or 0) > clock[1] * 1000 then
      going = going + 1
    end
  end
end
if used.sent + used.waiting + going >= most or used.waiting + used.resting >= math.max(most, parts) then
  return 'open'
end
if creates_full(KEYS[4], KEYS[10], tonumber(ARGV[8]) - used.waiting, now) then
  return 'creates'
end
local limits = room_limits(KEYS[10], ARGV[13], ARGV[14], ARGV[15], now)
-- What is more than its part is sent in parts; riders are counted when they are aboard.
local asked = {requests = 0, tokens = 0}
if not riders_only then
  asked.requests = math.min(tonumber(open[3] or 0), part(limits.requests, sliver, ARGV[17]))
  asked.tokens = math.min(tonumber(open[5] or 0), part(limits.tokens, sliver, ARGV[17]))
end
if ARGV[18] == '1' and used.lane then
  return 'waiting'
end
local full = no_room(used, limits, asked.requests, asked.tokens, sliver, not used.lane, ARGV[18] == '1')
if full then
  return full
end

local range = {after = open[2] or '0-0', last = last, requests = open[3] or 0, bytes = open[4] or 0, tokens = open[5] or 0}
if riders_only then
  range = {after = last, last = last, requests = 0, bytes = 0, tokens = 0}
end
redis.call('HSET', KEYS[2], 'id', id, 'lane', ARGV[2], 'account', ARGV[3], 'state', 'cut', 'trigger', ARGV[5],
           'after', range.after, 'last', range.last, 'requests', range.requests, 'bytes', range.bytes,
           'tokens', range.tokens, 'largest', open[6] or 0, 'riders', 0, 'cut_ms', now,
           'fence', 0, 'holder', '', 'lease_until', 0, 'pool', ARGV[13], 'per_token', open[8] or 0)
if not riders_only then
  redis.call('HSET', KEYS[1], 'cut', last, 'last', last, 'since', '', 'requests', 0, 'bytes', 0, 'tokens', 0, 'full', '')
end
redis.call('HSET', KEYS[1], 'cutting', id, 'cut_ms', now)
redis.call('HSET', KEYS[3], id, room_entry(asked.requests, asked.tokens, '0', ARGV[13], ARGV[2]))
redis.call('ZADD', KEYS[6], now + tonumber(ARGV[9]), id)
redis.call('HINCRBY', KEYS[7], 'cut:' .. ARGV[5], 1)
list_ledger(KEYS[8], ARGV[10], now)
return 'cut'
