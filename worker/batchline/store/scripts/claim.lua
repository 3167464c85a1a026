#!lua flags=allow-oom
-- Take the lease on a batch, by the store's own clock. Each claim raises the fence: older tokens are dead.
-- KEYS 1 batch (hash)
-- ARGV 1 holder (unique to this claim)  2 lease (ms)  3 now (ms)
-- Returns 'gone' (no such batch), 'settled', 'held' (somebody's lease is running), 'early' (a doorbell that rang twice:
--   the batch was looked at and is due later), or the batch record as HGETALL.
local batch = redis.call('HMGET', KEYS[1], 'state', 'holder', 'lease_until', 'next_ms')
if not batch[1] then
  return 'gone'
end
if batch[1] == 'settled' then
  return 'settled'
end
if batch[2] == ARGV[1] then
  return redis.call('HGETALL', KEYS[1])
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now < tonumber(batch[3]) then
  return 'held'
end
if tonumber(ARGV[3]) < tonumber(batch[4] or 0) then
  return 'early'
end
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'lease_until', now + tonumber(ARGV[2]))
return redis.call('HGETALL', KEYS[1])
