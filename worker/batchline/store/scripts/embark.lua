#!lua flags=allow-oom
-- Make entries riders of a batch that the audit brought back, so that nothing sends them again while it may still answer
-- them: those that nobody carries, beyond the last cut or in the retry pool, and those that a batch in `cut` carries,
-- which loses its lease then: what its worker has rendered must not be created any more. The others are left where they are.
-- With riders the batch takes room of the account, as much as their bodies make: one without may be another installation's,
-- which has the same key.
-- KEYS 1 batch (hash)  2 riders (zset)  3 requests (stream)  4 attempts (hash)  5 retry pool (zset)  6 walk (hash)
--      7 the account's open batches (hash)  then of each batch of the lane that was seen in `cut`: itself (hash), its riders (zset)
-- ARGV 1 fence  2 attempts record of an entry that was never retried (JSON)  3 '1' when these are the last
--      4 key prefix of batches  5 what their riders' keys end with  6 bytes per token, until the lane
--      has an estimate of its own  7.. entry ids
-- Returns how many ride along now. Error LEASELOST.
--@include fence
--@include body
--@include carry
--@include room
local cut = redis.call('HGET', KEYS[6], 'cut') or '0-0'
local waiting = {}
for i = 8, #KEYS, 2 do
  waiting[KEYS[i]] = KEYS[i + 1]
end
-- Those that were cut, or went again, since they were looked at: what is not sent keeps its place among the open ones.
local lane, open = redis.call('HGET', KEYS[1], 'lane'), redis.call('HGETALL', KEYS[7])
for i = 1, #open, 2 do
  local _, _, sent, _, of_lane = string.match(open[i + 1], ROOM)
  if sent == '0' and of_lane == lane then
    waiting[ARGV[4] .. open[i]] = ARGV[4] .. open[i] .. ARGV[5]
  end
end

local function free(entry)
  if redis.call('ZSCORE', KEYS[5], entry) then
    return true
  end
  for batch, riders in pairs(waiting) do
    if batch ~= KEYS[1] and redis.call('HGET', batch, 'state') == 'cut' and carries(batch, riders, KEYS[4], entry) then
      redis.call('ZREM', riders, entry)
      redis.call('HINCRBY', batch, 'fence', 1)
      redis.call('HSET', batch, 'holder', '', 'lease_until', 0)
      return true
    end
  end
  return beyond(entry, cut) and redis.call('HEXISTS', KEYS[4], entry) == 0
end

local moved, bytes = 0, 0
for i = 7, #ARGV do
  local entry = ARGV[i]
  local found = redis.call('XRANGE', KEYS[3], entry, entry)[1]
  if found and free(entry) then
    bytes = bytes + body_size(found[2])
    redis.call('ZADD', KEYS[2], 0, entry)
    redis.call('HSETNX', KEYS[4], entry, ARGV[2])
    redis.call('ZREM', KEYS[5], entry)
    moved = moved + 1
  end
end
redis.call('HINCRBY', KEYS[1], 'riders', moved)
local per_token = tonumber(redis.call('HGET', KEYS[6], 'per_token') or ARGV[6])
redis.call('HINCRBY', KEYS[1], 'sent_tokens', math.ceil(bytes / per_token))
local batch = redis.call('HMGET', KEYS[1], 'id', 'state', 'pool', 'lane', 'orphan')
if moved > 0 and batch[2] == 'submitted' then
  local requests, tokens = string.match(redis.call('HGET', KEYS[7], batch[1]) or '', ROOM)
  requests, tokens = tonumber(requests or 0) + (batch[5] and moved or 0), tonumber(tokens or 0) + math.ceil(bytes / per_token)
  redis.call('HSET', KEYS[7], batch[1], room_entry(requests, tokens, '1', batch[3] or '', batch[4]))
end
if ARGV[3] == '1' then
  redis.call('HDEL', KEYS[1], 'embarks')
end
return moved
