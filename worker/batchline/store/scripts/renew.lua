#!lua flags=allow-oom
-- Extend a lease that is still ours, by the store's own clock.
-- KEYS 1 batch (hash)
-- ARGV 1 fence  2 lease (ms)
-- Returns 1. Error LEASELOST.
--@include fence
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1], 'lease_until', now + tonumber(ARGV[2]))
return 1
