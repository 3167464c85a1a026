#!lua flags=allow-oom
-- Make entries riders of an adopted batch, so that nothing sends them again while it may still answer them: those that
-- nobody carries, beyond the last cut or in the retry pool. The others are left where they are.
-- KEYS 1 batch (hash)  2 riders (zset)  3 requests (stream)  4 attempts (hash)  5 retry pool (zset)  6 walk (hash)
-- ARGV 1 fence  2 attempts record of an entry that was never retried (JSON)  3.. entry ids
-- Returns how many ride along now. Error LEASELOST.
--@include fence
--@include carry
local cut = redis.call('HGET', KEYS[6], 'cut') or '0-0'
local moved = 0
for i = 3, #ARGV do
  local entry = ARGV[i]
  local waits = redis.call('ZSCORE', KEYS[5], entry)
  local fresh = not waits and beyond(entry, cut) and redis.call('HEXISTS', KEYS[4], entry) == 0
    and #redis.call('XRANGE', KEYS[3], entry, entry) == 1
  if waits or fresh then
    redis.call('ZADD', KEYS[2], 0, entry)
    redis.call('HSETNX', KEYS[4], entry, ARGV[2])
    redis.call('ZREM', KEYS[5], entry)
    moved = moved + 1
  end
end
redis.call('HINCRBY', KEYS[1], 'riders', moved)
return moved
