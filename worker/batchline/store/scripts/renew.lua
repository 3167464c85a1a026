#!lua flags=allow-oom
-- Extend a lease that is still ours, by the store's own clock; never shorten it (a create call may have a longer one).
-- KEYS 1 batch (hash)
-- ARGV 1 fence  2 lease (ms)
-- Returns 1. Error LEASELOST.
--@include fence
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local held = tonumber(redis.call('HGET', KEYS[1], 'lease_until'))
redis.call('HSET', KEYS[1], 'lease_until', math.max(held, now + tonumber(ARGV[2])))
return 1
