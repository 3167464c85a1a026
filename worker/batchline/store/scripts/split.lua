#!lua flags=allow-oom
-- Replace a batch in `cut` by itself over a first part and a new batch over the rest. Two forms: cut its range after an
-- entry (riders stay), or, for a batch that has only riders, hand riders over until so many are kept.
-- KEYS 1 batch  2 new batch (hashes)  3 riders  4 the new batch's riders (zsets)  5 the account's open batches (hash)
--      6 agenda of accumulate (zset)
-- ARGV 1 fence  2 new batch id  3 the last entry of the range that stays, or '' to keep the range whole
--      4 requests  5 bytes  6 tokens of the range that stays  7 riders to keep  8 most riders to move in this call
--      9 not before (ms) of the new batch
-- Returns how many riders were moved. Errors LEASELOST, STATE.
--@include fence
--@include room
local batch = redis.call('HMGET', KEYS[1], 'state', 'lane', 'account', 'trigger', 'cut_ms', 'largest', 'last',
                         'requests', 'bytes', 'tokens', 'id', 'pool', 'per_token')
local pool = batch[12] or ''

-- Neither half waits for more room than the whole has.
local requests_kept, tokens_kept = string.match(redis.call('HGET', KEYS[5], batch[11]) or '', ROOM)
local function part_of_room(requests, tokens)
  return room_entry(math.min(requests, tonumber(requests_kept or 0)), math.min(tokens, tonumber(tokens_kept or 0)), '0', pool, batch[2])
end

if batch[1] ~= 'cut' then
  return redis.error_reply('STATE split needs a batch in cut, this one is ' .. tostring(batch[1]))
end
local at = ARGV[3]
if redis.call('EXISTS', KEYS[2]) == 0 then
  local after, requests, bytes, tokens = batch[7], 0, 0, 0
  if at ~= '' then
    after, requests, bytes, tokens = at, batch[8] - ARGV[4], batch[9] - ARGV[5], batch[10] - ARGV[6]
  end
  redis.call('HSET', KEYS[2], 'id', ARGV[2], 'state', 'cut', 'lane', batch[2], 'account', batch[3], 'trigger', batch[4],
             'cut_ms', batch[5], 'largest', batch[6], 'after', after, 'last', batch[7], 'requests', requests,
             'bytes', bytes, 'tokens', tokens, 'riders', 0, 'fence', 0, 'holder', '', 'lease_until', 0,
             'next_ms', ARGV[9], 'pool', pool, 'per_token', batch[13] or 0)
  redis.call('HSET', KEYS[5], ARGV[2], part_of_room(requests, tokens))
  redis.call('ZADD', KEYS[6], ARGV[9], ARGV[2])
  if at ~= '' then
    redis.call('HSET', KEYS[1], 'last', at, 'requests', ARGV[4], 'bytes', ARGV[5], 'tokens', ARGV[6])
    redis.call('HSET', KEYS[5], batch[11], part_of_room(tonumber(ARGV[4]), tonumber(ARGV[6])))
  end
end
local extra = math.min(redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[7]), tonumber(ARGV[8]))
-- What somebody has claimed may be rendered already: nothing is added to it.
if extra <= 0 or redis.call('HGET', KEYS[2], 'fence') ~= '0' then
  return 0
end
local moved = redis.call('ZRANGE', KEYS[3], -extra, -1)
for _, entry in ipairs(moved) do
  redis.call('ZADD', KEYS[4], 0, entry)
  redis.call('ZREM', KEYS[3], entry)
end
redis.call('HINCRBY', KEYS[1], 'riders', -#moved)
redis.call('HINCRBY', KEYS[2], 'riders', #moved)
return #moved
